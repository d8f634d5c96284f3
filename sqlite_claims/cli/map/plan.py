"""The settings of a run of ``map``, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass

from .command import Template

FAILURES_SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of a run.

    ``retries``: how often a failed command is started again. ``keep_output``: bytes of a command's standard output
    that are stored as the output of its task. ``durable``: results, and output that goes to a file, survive a loss of
    power.
    """

    instance_id: str
    template: Template
    jobs: int
    retries: int = 0
    keep_output: int = 65_536
    durable: bool = True

    @property
    def kind(self) -> str:
        """The kind of the tasks: the instance's name, so that no other command claims them."""
        return self.instance_id


@dataclass(frozen=True, slots=True)
class Failure:
    """A line that failed for good."""

    line: bytes
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    ``status``: exit status of the process. ``problem``: the reason for the status, unless it is a failed line.
    ``completed``, ``failed``, ``lost``: commands of this run. ``unwritten``: commands of this run whose output could
    not be written; their lines are not done. ``done_before``: lines of the input that earlier runs have completed.
    ``began_empty``: whether standard output is a file that was empty at the start. ``failures``: the first failures.
    """

    status: int
    problem: str | None
    completed: int
    failed: int
    lost: int
    unwritten: int
    done_before: int
    began_empty: bool
    failures: tuple[Failure, ...]
