"""What a handler is given, what it may raise, and what a run reports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .. import validate
from ..errors import BackendError, InvalidStateError
from ..model import Duration, TaskState

if TYPE_CHECKING:
    from ..interface import TaskClaimStore
    from ..model import ClaimedTask, TaskClaim

Reason = Literal["idle", "stopped", "interrupted"]


class FailTask(Exception):
    """Raised by a handler: the task is ``FAILED`` now, whatever attempts it had left."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = str(error)


class SnoozeTask(Exception):
    """Raised by a handler: give the task back and offer it again after ``delay`` (a duration). Costs no attempt."""

    def __init__(self, delay: Duration) -> None:
        super().__init__(delay)
        self.delay = validate.duration_us("delay", delay) / 1e6


class StopWorker(BaseException):
    """Raised by a handler to end the run, in a pool the whole pool's; its task is given back at no cost.

    ``CheckpointingRunner.run`` raises it to its caller. It is a ``BaseException``, so that ``except Exception`` lets it
    pass.
    """


class WorkerStartError(BackendError):
    """A worker lacks what it needs: its processes die before they can work, or the system gives it no threads or
    descriptors. The message bears the cause."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended and what it did.

    ``reason``: ``"idle"`` (nothing was left, with ``until_idle``), ``"stopped"`` (by ``shutdown`` or a handler's
    ``StopWorker``) or ``"interrupted"`` (SIGTERM, SIGINT, a handler's ``KeyboardInterrupt``). ``completed`` and
    ``failed`` count attempts, so that a task which failed twice and then completed is in both. ``lost`` counts
    attempts whose result had to be dropped because the claim was gone: the instance cancelled, the lease lost, or the
    process dead.
    """

    reason: Reason
    completed: int
    failed: int
    lost: int


class TaskContext:
    """One attempt at one task, as its handler sees it.

    ``cancelled`` is set when the attempt no longer counts: the claim is lost, the instance was cancelled, the task
    timed out, or the worker had to stop before the handler was done. What the handler returns is then dropped;
    return soon. ``claim`` is the latest state of the claim; its ``token`` stays the same through the attempt.
    """

    __slots__ = (
        "_claimed",
        "_dropped",
        "_on_drop",
        "_store",
        "attempt",
        "cancelled",
        "claim",
        "input",
        "instance_id",
        "kind",
        "task_id",
    )

    instance_id: str
    task_id: str
    kind: str
    input: bytes
    attempt: int
    claim: TaskClaim
    cancelled: threading.Event

    def __init__(self, store: TaskClaimStore, claimed: ClaimedTask) -> None:
        task = claimed.task
        self.instance_id = task.instance_id
        self.task_id = task.task_id
        self.kind = task.kind
        self.input = task.input
        self.attempt = task.attempt
        self.claim = claimed.claim
        self.cancelled = threading.Event()
        self._store = store
        self._dropped = False
        self._claimed = claimed
        self._on_drop: Callable[[], object] | None = None

    @property
    def worker_id(self) -> str:
        """The name under which the task is claimed."""
        return self.claim.worker_id

    def result_of(self, task_id: str) -> bytes:
        """The output of another task of the same instance: what this one was waiting for, say.

        Raises ``NotFoundError``, and ``InvalidStateError`` where that task is not completed.
        """
        info = self._store.get_task(self.instance_id, task_id)
        if info.state is not TaskState.COMPLETED or info.output is None:
            raise InvalidStateError(f"task {task_id!r} of instance {self.instance_id!r} is {info.state}, not completed")
        return info.output

    def __repr__(self) -> str:
        return f"<TaskContext {self.instance_id!r} {self.task_id!r} attempt {self.attempt}>"

    def _drop(self) -> None:
        """The attempt no longer counts; its owner has marked it so under its lock."""
        self._dropped = True
        self.cancelled.set()
        stop = self._on_drop
        if stop is not None:
            stop()
