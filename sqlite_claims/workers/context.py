"""The objects that a handler is given, the exceptions that it may raise, and the summary of a run."""

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
    """Raised by a handler to fail its task permanently, even if the task has attempts left.

    Args:
        error: the text to store as the task's error.
    """

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error: str = str(error)


class SnoozeTask(Exception):
    """Raised by a handler to release its task, at no cost, and to have it offered again later.

    Args:
        delay: the time until the task can be claimed again, in seconds or as a ``timedelta``.
    """

    def __init__(self, delay: Duration) -> None:
        super().__init__(delay)
        self.delay: float = validate.duration_us("delay", delay) / 1e6


class StopWorker(BaseException):
    """Raised by a handler to end the run; its task is released at no cost.

    In a pool it ends the run of the whole pool. ``CheckpointingRunner.run`` raises it to its caller. It is a
    ``BaseException``, so that ``except Exception`` in a handler does not catch it.
    """


class WorkerStartError(BackendError):
    """A worker lacks something that it needs to run. The message contains the cause.

    Examples: the processes of a pool crash on start-up, or the system has no more threads or file descriptors.
    """


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Why a run ended, and how many attempts it made.

    ``reason`` is one of

    * ``"idle"``: no open task was left, with ``until_idle``;
    * ``"stopped"``: by ``shutdown`` or by a handler's ``StopWorker``;
    * ``"interrupted"``: by SIGTERM, SIGINT or a handler's ``KeyboardInterrupt``.

    ``completed`` and ``failed`` count attempts: a task that failed twice and then completed is in both. ``lost`` counts
    attempts whose result was dropped because their claim was gone: the instance was cancelled, the lease lost, or the
    process dead.
    """

    reason: Reason
    completed: int
    failed: int
    lost: int


class TaskContext:
    """One attempt at a task, as its handler sees it.

    * ``instance_id``, ``task_id``, ``kind``, ``input``: those of the task.
    * ``attempt``: the number of this attempt, counted from 1.
    * ``claim``: the latest state of the claim. Its ``token`` stays the same through the attempt.
    * ``cancelled``: an event that is set when the attempt no longer counts. That is so when the claim is lost, the
      instance was cancelled, the task has timed out, or the worker had to stop before the handler returned. The result
      is dropped then, so the handler should return soon.
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
        """The worker that has claimed the task."""
        return self.claim.worker_id

    def result_of(self, task_id: str) -> bytes:
        """Return the output of another task of the same instance, for example of one that this task depends on.

        Args:
            task_id: the other task.

        Returns:
            The output as its handler returned it.

        Raises:
            NotFoundError: the instance has no such task.
            InvalidStateError: that task is not completed.
        """
        info = self._store.get_task(self.instance_id, task_id)
        if info.state is not TaskState.COMPLETED or info.output is None:
            raise InvalidStateError(f"task {task_id!r} of instance {self.instance_id!r} is {info.state}, not completed")
        return info.output

    def __repr__(self) -> str:
        return f"<TaskContext {self.instance_id!r} {self.task_id!r} attempt {self.attempt}>"

    def _drop(self) -> None:
        """Tell the handler that the attempt no longer counts. The caller has set ``_dropped`` under its own lock."""
        self._dropped = True
        self.cancelled.set()
        on_drop = self._on_drop
        if on_drop is not None:
            on_drop()
