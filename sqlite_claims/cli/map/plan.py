"""What a run of ``map`` is to do, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from .command import Template

FAILURES_SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """``retries``: how often a failed command is started again. ``keep_output``: bytes of its standard output that are
    stored as the task's."""

    instance_id: str
    template: Template
    jobs: int
    retries: int = 0
    keep_output: int = 65_536

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
    and ``lost`` are this run's own; ``failures`` the first of all that failed."""

    status: int
    problem: str | None
    completed: int
    failed: int
    lost: int
    failures: tuple[Failure, ...]
