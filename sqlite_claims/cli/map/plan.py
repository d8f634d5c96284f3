"""What a run of ``map`` is to do, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from .command import Template

FAILURES_SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """``retries``: how often a failed command is started again. ``keep_output``: bytes of its standard output that are
    stored as the task's. ``durable``: results, and output that goes to a file, survive a power cut."""

    instance_id: str
    template: Template
    jobs: int
    retries: int = 0
    keep_output: int = 65_536
    durable: bool = True

    @property
    def kind(self) -> str:
        """Its tasks' kind: the instance's name, so that no other command claims them."""
        return self.instance_id


@dataclass(frozen=True, slots=True)
class Failure:
    """A line that failed for good."""

    line: bytes
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """``status`` is the process's exit status; ``problem`` says why, where that isn't plain. ``completed``, ``failed``
    and ``lost`` are this run's own, as is ``unwritten``: commands whose output could not be written, and whose lines
    are not done therefore. ``done_before``: lines of the input that an earlier run has done. ``began_empty``: standard
    output is a file that was empty. ``failures`` are the first of all that failed."""

    status: int
    problem: str | None
    completed: int
    failed: int
    lost: int
    unwritten: int
    done_before: int
    began_empty: bool
    failures: tuple[Failure, ...]
