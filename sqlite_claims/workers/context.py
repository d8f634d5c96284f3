"""Public classes for handlers and their callers: the context of a task, the exceptions that a handler may raise, and
the summary of a worker's run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .. import validate
from ..errors import BackendError, InvalidStateError
from ..model import Duration, TaskState

if TYPE_CHECKING:
    from ..interface import TaskClaimStore
    from ..model import ClaimedTask, TaskClaim
    from .progress_reports import ProgressReports

# Held while the reports of an attempt are created, because several threads may report for the first time.
_creating = threading.Lock()

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
    """Raised by a handler to release its task without counting the attempt. The task can be claimed again after a
    delay.

    Args:
        delay: the time until the task can be claimed again, in seconds or as a ``timedelta``.
    """

    def __init__(self, delay: Duration) -> None:
        super().__init__(delay)
        self.delay: float = validate.duration_us("delay", delay) / 1e6


class RetryTask(Exception):
    """Raised by a handler to let its attempt fail, and to choose the delay before the next attempt.

    The attempt counts as a failure, so the task fails permanently at its ``max_attempts``-th failure.

    Args:
        delay: the time until the task can be claimed again, in seconds or as a ``timedelta``. Default: ``None``, the
            delay of the task's retry policy.
        error: the text to store as the task's error. Default: the exception's type and traceback.

    Raises:
        InvalidArgumentError: ``delay`` is not a duration, or is negative.
    """

    def __init__(self, delay: Duration | None = None, error: str = "") -> None:
        super().__init__(*([error] if error else []))
        self.delay: float | None = None if delay is None else validate.duration_us("delay", delay) / 1e6
        self.error: str = str(error)


class StopWorker(BaseException):
    """Raised by a handler to end the worker's run. The handler's task is released, and the attempt does not count.

    In a pool, ``StopWorker`` ends the run of the whole pool. ``CheckpointingRunner.run`` raises ``StopWorker`` to its
    caller. The class derives from ``BaseException``, so that ``except Exception`` in a handler does not catch the
    exception.
    """


class WorkerStartError(BackendError):
    """Raised if a worker cannot start or continue, because a resource is missing. The message contains the cause.

    Examples: the processes of a pool crash on start-up, or the system has no more threads or file descriptors.
    """


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The reason why a worker's run ended, and the numbers of its attempts.

    ``reason`` is one of

    * ``"idle"``: the run was started with ``until_idle``, and there was no open task that the worker could run;
    * ``"stopped"``: ``shutdown`` was called, or a handler raised ``StopWorker``;
    * ``"interrupted"``: the process received SIGTERM or SIGINT, or a handler raised ``KeyboardInterrupt``.

    ``completed`` and ``failed`` count attempts. A task that failed twice and then completed adds two to ``failed`` and
    one to ``completed``. ``lost`` counts attempts whose claim was lost, so that the result was dropped. A claim is lost
    if the instance is cancelled, another worker takes the task over, or the process dies.
    """

    reason: Reason
    completed: int
    failed: int
    lost: int


class TaskContext:
    """One attempt at a task. The handler of the task receives this object as its argument.

    * ``instance_id``, ``task_id``, ``kind``, ``input``: the fields of the task.
    * ``attempt``: the number of this attempt. The first attempt has the number 1.
    * ``claim``: the latest state of the claim. The claim's ``token`` does not change during the attempt.
    * ``cancelled``: an event that is set when the attempt no longer counts. The worker sets the event if the claim is
      lost, the instance is cancelled or the task times out. The worker also sets the event if it has to stop before the
      handler returns. After the event is set, the worker ignores the result, so the handler should return soon.
    """

    __slots__ = (
        "_claimed",
        "_dropped",
        "_on_drop",
        "_reports",
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
        self._reports: ProgressReports | None = None

    @property
    def worker_id(self) -> str:
        """The id of the worker that has claimed the task."""
        return self.claim.worker_id

    @property
    def timeout(self) -> float | None:
        """The seconds that an attempt at this task may take. ``None``: the worker's ``task_timeout`` applies."""
        return self._claimed.task.timeout

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata that the task was added with."""
        return self._claimed.task.metadata

    @property
    def checkpoint(self) -> bytes | None:
        """The latest checkpoint of the task, which this attempt or an earlier attempt has reported with ``progress``.
        ``None`` if there is no checkpoint."""
        if self._reports is not None and self._reports.checkpoint is not None:
            return self._reports.checkpoint
        return self._store.get_task(self.instance_id, self.task_id).checkpoint

    def progress(
        self,
        done: float | None = None,
        total: float | None = None,
        note: str | None = None,
        checkpoint: bytes | None = None,
    ) -> None:
        """Report how far the work on this task has come. Arguments that are left out keep their stored values.

        The method may be called often. The first report is written at once. Later reports are written within a second,
        and the last report is written before the task ends. If the claim is lost, ``cancelled`` is set. If the store
        cannot be written, a warning is logged once, and the values are written with the next report.

        Args:
            done: the amount of work that is done, at least 0.
            total: the amount of all work, at least 0.
            note: a text for people, at most 1 KiB.
            checkpoint: bytes from which the next attempt can continue the work, at most 1 MiB.

        Raises:
            InvalidArgumentError: an argument has a bad value.
        """
        from ..front.claims import progress_report  # few handlers report progress
        from .progress_reports import ProgressReports

        report = progress_report(done=done, total=total, note=note, checkpoint=checkpoint)
        values = {name: value for name, value in report._asdict().items() if value is not None}
        if values:
            with _creating:
                if self._reports is None:
                    self._reports = ProgressReports(self._store, self.claim, on_lost=self.cancelled.set)
            self._reports.add(values)

    def result_of(self, task_id: str) -> bytes:
        """Return the output of another task of the same instance, for example of a task that this task depends on.

        Args:
            task_id: the id of the other task.

        Returns:
            The output that the other task's handler returned.

        Raises:
            NotFoundError: the instance has no such task.
            InvalidStateError: the other task is not completed.
        """
        info = self._store.get_task(self.instance_id, task_id)
        if info.state is not TaskState.COMPLETED or info.output is None:
            raise InvalidStateError(f"task {task_id!r} of instance {self.instance_id!r} is {info.state}, not completed")
        return info.output

    def __repr__(self) -> str:
        return f"<TaskContext {self.instance_id!r} {self.task_id!r} attempt {self.attempt}>"

    def _end_progress(self) -> None:
        """Write the last report of progress."""
        if self._reports is not None:
            self._reports.end()

    def _drop(self) -> None:
        """Notify the handler that the attempt no longer counts. Before this call, the caller must hold its own lock and
        set ``_dropped``."""
        self._dropped = True
        self.cancelled.set()
        on_drop = self._on_drop
        if on_drop is not None:
            on_drop()


Runner = Callable[[TaskContext], Any]
"""A function that runs one attempt. The function returns the handler's result, or an awaitable of the result."""

current: ContextVar[TaskContext] = ContextVar("current_task")


def current_task() -> TaskContext:
    """Return the ``TaskContext`` of the handler that calls this function, from any depth of calls.

    The function also works in coroutines, and in threads that run in a copy of the handler's context
    (``contextvars.copy_context``). ``asyncio.to_thread`` makes such a copy.

    Returns:
        The context of the current attempt.

    Raises:
        InvalidStateError: no handler is running in this context.
    """
    try:
        return current.get()
    except LookupError:
        raise InvalidStateError(
            "current_task() was called outside of a handler: call it in a handler, or in a thread that runs in a copy "
            "of the handler's context (contextvars.copy_context)"
        ) from None
