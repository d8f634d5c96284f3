"""The settings and the outcome of a run of ``map``."""

from __future__ import annotations

from dataclasses import dataclass

from .command import Template

FAILURES_SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of a run.

    ``retries``: number of times that a failed command is started again. ``keep_output``: number of bytes of a command's
    standard output that are stored as the output of the task. ``durable``: True if results, and output to a file,
    survive a loss of power.
    """

    instance_id: str
    template: Template
    jobs: int
    retries: int = 0
    keep_output: int = 65_536
    durable: bool = True

    @property
    def kind(self) -> str:
        """The kind of the tasks, which is the instance's name. So runs of different commands do not claim these
        tasks."""
        return self.instance_id


@dataclass(frozen=True, slots=True)
class Failure:
    """A line that failed permanently."""

    line: bytes
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a run.

    ``status``: exit status of the process. ``problem``: the reason for the status, unless the reason is a failed line.
    ``completed``, ``failed``, ``lost``: numbers of commands of this run. ``unwritten``: number of commands of this run
    whose output could not be written; the lines of these commands are not done. ``done_before``: number of lines of the
    input that runs before this run have completed. ``began_empty``: True if standard output is a file that was empty at
    the start. ``failures``: the first failures.
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
