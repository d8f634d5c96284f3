"""The two loggers of the workers. A worker reports its own problems to ``log``, and attempts at tasks to ``tasks``.

If attempts are not logged, the only cost is one check of the log level for each batch of tasks.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any, Protocol

from ..model import TaskInfo, TaskState

_ERROR_CHARS_MAX = 10_000


class SafeLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that never raises, except ``KeyboardInterrupt``. If a log filter or log handler of the program raises an
    exception, the worker must not end and the task must not fail. Instead, the traceback is printed to
    standard error, as ``logging`` does by default."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), None)

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Log as ``Logger.log`` does."""
        if self.isEnabledFor(level):
            try:
                self.logger.log(level, msg, *args, stacklevel=2, **options)
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001 - raised by the program's log filters, log handlers or exceptions
                show_failure()

    def handle(self, record: logging.LogRecord) -> None:
        """Handle a record as ``Logger.handle`` does."""
        try:
            self.logger.handle(record)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - raised by the program's log filters and handlers
            show_failure()


def show_failure() -> None:
    """Print the traceback of the exception that is being handled, unless ``logging.raiseExceptions`` is false."""
    if logging.raiseExceptions and sys.stderr is not None:
        import traceback

        with suppress(BaseException):
            traceback.print_exc()


log = SafeLogger("sqlite_claims.workers")
tasks = SafeLogger("sqlite_claims.tasks")


class Attempt(Protocol):
    """The attributes of an attempt that the log records contain. ``TaskContext`` and ``RunningTask`` have these
    attributes."""

    @property
    def instance_id(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def worker_id(self) -> str: ...


class AttemptFailure(Protocol):
    """The attributes of a ``Failure`` that the log records contain."""

    @property
    def error(self) -> str: ...
    @property
    def retry(self) -> bool: ...
    @property
    def cause(self) -> BaseException | None: ...
    @property
    def retry_in_s(self) -> float | None: ...


def wants_all() -> bool:
    """Return whether the starts and completions of attempts are logged."""
    return tasks.isEnabledFor(logging.INFO)


def started(attempt: Attempt) -> None:
    """Log that the attempt's handler is about to be called."""
    _log_attempt(logging.INFO, attempt, 0.0, "started, attempt %d", attempt.attempt)


def completed(attempt: Attempt, seconds: float) -> None:
    """Log that the task is completed and the attempt's result is stored."""
    _log_attempt(logging.INFO, attempt, seconds, "completed in %.3f s", seconds)


def released(attempt: Attempt, seconds: float, delay: float = 0.0) -> None:
    """Log that the task is released without counting the attempt, because the run ends or because the handler
    requested the release."""
    _log_attempt(logging.INFO, attempt, seconds, "released" + (f", available again in {delay:g} s" if delay else ""))


_CLAIM_GONE = "the instance was cancelled, or another worker has the claim"


def lost(attempt: Attempt, seconds: float, why: str = _CLAIM_GONE) -> None:
    """Log that the attempt's result is dropped because the claim is lost."""
    _log_attempt(logging.WARNING, attempt, seconds, "lost: %s", why)


def failed(attempt: Attempt, seconds: float, failure: AttemptFailure, info: TaskInfo | None) -> None:
    """Log that the attempt's failure is stored. ``info``: the task's state after the failure, if known."""
    error, trace = failure.error[:_ERROR_CHARS_MAX], ""
    if failure.cause is not None:
        error, _, trace = error.partition("\n")
    is_last = not failure.retry or (
        info is not None and info.state is TaskState.FAILED and info.attempts <= attempt.attempt
    )
    if is_last:
        level, text = logging.ERROR, "failed permanently"
    else:
        level, text = logging.WARNING, "failed"
    if failure.retry and info is not None:
        text += f", {info.failures} of {info.max_attempts} attempts"
        if not is_last:
            if failure.retry_in_s is None:
                delay_s, about = info.retry.delay_us(info.failures, 0.0) / 1e6, "about "
            else:
                delay_s, about = failure.retry_in_s, ""
            text += f", will be retried {f'in {about}{delay_s:g} s' if delay_s else 'at once'}"
    _log_attempt(level, attempt, seconds, text + ": %s", error, cause=failure.cause, trace=trace.lstrip("\n"))


def _log_attempt(
    level: int,
    attempt: Attempt,
    seconds: float,
    text: str,
    *args: object,
    cause: BaseException | None = None,
    trace: str = "",
) -> None:
    if not tasks.isEnabledFor(level):
        return
    extra = {
        "instance_id": attempt.instance_id,
        "task_id": attempt.task_id,
        "kind": attempt.kind,
        "attempt": attempt.attempt,
        "worker_id": attempt.worker_id,
        "seconds": seconds,
    }
    logger = tasks.logger
    names = (attempt.task_id, attempt.instance_id)
    exc_info = None if cause is None else (type(cause), cause, cause.__traceback__)
    record = logger.makeRecord(
        logger.name, level, __file__, 0, f"task %r of instance %r {text}", (*names, *args), exc_info, None, extra
    )
    if trace:
        record.exc_text = trace  # the text is already formatted, so logging calls no method of the exception
    tasks.handle(record)
