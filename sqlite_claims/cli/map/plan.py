"""The settings and the outcome of a run of ``map``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from ...errors import InvalidArgumentError, InvalidStateError
from ...model import InstanceInfo, InstanceState
from .template import Template

FAILURES_SHOWN_MAX = 10


class Halt(NamedTuple):
    """The rule that ends a run early: after ``failures`` failed lines, ``now`` or when the running commands have
    ended (``soon``)."""

    when: Literal["now", "soon"]
    failures: int

    def __str__(self) -> str:
        return f"--halt {self.when},fail={self.failures}"

    @classmethod
    def parse(cls, text: str) -> Halt | None:
        """Parse the value of ``--halt``. ``never`` gives ``None``.

        Raises:
            InvalidArgumentError: The text is not a rule.
        """
        if text == "never":
            return None
        match = re.fullmatch(r"(now|soon),fail=([0-9]{1,9})", text, re.ASCII)
        if match is None or not int(match[2]):
            raise InvalidArgumentError(f"--halt {text!r}: give never, now,fail=N or soon,fail=N, with N from 1")
        return cls(cast('Literal["now", "soon"]', match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of a run.

    ``retries``: number of times that a failed command is started again. ``keep_output``: number of bytes of a
    command's standard output that are stored as the output of the task. ``durable``: True if results, and output to
    a file, survive a loss of power. ``task_tags``: tags of the tasks. ``limit``: the limit of the tasks.
    ``timeout_s``: seconds that a command may run. ``delay_s``: least seconds between two starts. ``tag``: write the
    line and a tab before each line of output. ``joblog_fd``: descriptor of the job log, or -1. ``results``: folder
    of the results, or ``None``.
    """

    instance_id: str
    template: Template
    jobs: int
    retries: int = 0
    keep_output: int = 65_536
    durable: bool = True
    task_tags: tuple[str, ...] = ()
    limit: str | None = None
    timeout_s: float | None = None
    delay_s: float = 0.0
    halt: Halt | None = None
    keep_order: bool = False
    tag: bool = False
    joblog_fd: int = -1
    results: str | None = None

    @property
    def needs_numbers(self) -> bool:
        """True if the run uses the numbers of lines."""
        return self.template.needs_number or self.keep_order or self.joblog_fd >= 0 or self.results is not None

    @property
    def kind(self) -> str:
        """The kind of the tasks, which is the instance's name. So runs of different commands do not claim these
        tasks."""
        return self.instance_id


def check_instance(info: InstanceInfo, plan: Plan) -> None:
    """Raise ``InvalidStateError`` if the plan's command cannot use this instance."""
    if info.definition_hash != plan.template.definition_hash:
        other = info.definition_hash.partition(" ")[2]
        raise InvalidStateError(
            f"instance {info.instance_id!r} belongs to another command ({other}); choose another --instance"
        )
    if info.state is InstanceState.CANCELLED:
        raise InvalidStateError(
            f"instance {info.instance_id!r} was cancelled; choose another --instance to start again"
        )


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
