"""Runs one handler and says what came of it. Nothing here knows a store or a claim's life."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import validate
from ..errors import InvalidStateError
from ..model import ClaimedTask
from . import program_end
from .context import FailTask, Reason, SnoozeTask, StopWorker, TaskContext, WorkerStartError
from .forked import HomeProcess, exit_status

if TYPE_CHECKING:
    from .registry import Handler

MESSAGE_CHARS_MAX = 2_000
TRACE_CHARS_MAX = 8_000


@dataclass(frozen=True, slots=True)
class Failure:
    """The attempt failed; ``retry=False``: for good. ``cause``: the exception, of which ``error`` tells."""

    error: str
    retry: bool = True
    cause: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """Give the task back, to be offered again in ``delay`` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Quit:
    """The handler ended the run (``cause``), or the program is ending; the task is given back."""

    reason: Reason
    cause: BaseException
    by_handler: bool = True


@dataclass(frozen=True, slots=True)
class Abort:
    """The worker can't go on (``cause``), which is not the handler's fault: the run ends, the task is given back."""

    cause: BaseException


class Released(BaseException):
    """Raised by ``wait_for``: give the task back at no cost."""


class WorkerTrouble(BaseException):
    """Raised by ``wait_for``: the run has to end, since the worker lacks something that it needs."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Release:
    """Give the task back at no cost: the attempt was ended for a reason outside of it."""


Result = bytes | Failure | Snooze | Quit | Abort | Release
# A task, the outcome of the attempt, and the seconds that its handler took.
Ended = tuple[ClaimedTask, Result, float]
Outcome = tuple[BaseException | None, Any]
"""How a coroutine ended: its error or its value."""


def execute(
    handler: Handler,
    task: TaskContext,
    wait_for: Callable[[Awaitable[Any], TaskContext], Outcome],
    home: HomeProcess,
) -> Result:
    """Call the handler; whatever it does comes back as a result. ``wait_for`` sees a coroutine to its end.

    Does not return in a process that the handler has forked off ``home``.
    """
    try:
        value = handler(task)
        if value is not None and type(value) is not bytes and isinstance(value, Awaitable):
            home.leave_if_forked()
            value = _wait(wait_for, value, task)
        home.leave_if_forked()
    except BaseException as error:  # noqa: BLE001 - a stray CancelledError, say, ends the attempt and not the thread
        home.leave_if_forked(error)
        return _result_of(error)
    finally:
        if sys.getrecursionlimit() < home.recursion_limit:
            sys.setrecursionlimit(home.recursion_limit)
    if value is None:
        return b""
    if type(value) is bytes:
        return value
    return _checked(value)


def _wait(
    wait_for: Callable[[Awaitable[Any], TaskContext], Outcome], awaitable: Awaitable[Any], task: TaskContext
) -> Any:
    error: BaseException | None
    try:
        error, value = wait_for(awaitable, task)
    except Exception as trouble:  # noqa: BLE001 - the handler's own errors come as values: no fault of the task
        error, value = WorkerTrouble(WorkerStartError(f"a coroutine can't be run: {describe(trouble)}")), None
    if error is None:
        return value
    with suppress(Exception):  # an awaitable of another kind, or one that had its end
        awaitable.close()  # type: ignore[attr-defined] # else Python warns that it was never awaited
    raise error


def _checked(value: object) -> Result:
    """A value that is neither ``None`` nor just ``bytes``."""
    try:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return memoryview(value).tobytes()
        error = f"a handler's result must be bytes-like, not {type(value).__name__}: {validate.shown(value)}"
    except KeyboardInterrupt as interrupt:  # on the main thread: Ctrl-C, at just this moment
        return Quit("interrupted", interrupt)
    except BaseException as nested:  # noqa: BLE001 - the user's __repr__, or a memoryview that was released
        return Failure(describe(nested), retry=False)
    return Failure(f"{error} (handlers return bytes or None)", retry=False)


def _result_of(error: BaseException) -> Result:
    try:
        if isinstance(error, Released):
            return Release()
        if isinstance(error, WorkerTrouble):
            return Abort(error.cause)
        if isinstance(error, FailTask):
            return Failure(str(error.error), retry=False)
        if isinstance(error, SnoozeTask):
            return Snooze(validate.duration_us("delay", error.delay) / 1e6)
        if isinstance(error, (KeyboardInterrupt, StopWorker)):
            return Quit("interrupted" if isinstance(error, KeyboardInterrupt) else "stopped", error)
        if isinstance(error, BaseExceptionGroup):
            # Out of a TaskGroup, say.
            inner = error.subgroup((KeyboardInterrupt, StopWorker))
            if inner is not None:
                return _result_of(_first(inner))
        if program_end.refuses_work(error):
            ending = InvalidStateError("the program is ending, and its handlers can't go on; the task is given back")
            ending.__cause__ = error
            return Quit("stopped", ending, by_handler=False)
    except KeyboardInterrupt as interrupt:  # Ctrl-C once more, say
        return Quit("interrupted", interrupt)
    except BaseException as nested:  # noqa: BLE001 - attributes that the user's code has set, or its __str__
        return Failure(describe(nested), cause=nested)
    return Failure(describe(error), cause=error)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def describe(error: BaseException) -> str:
    """Type and message on the first line, then the traceback; both bounded, since they are stored.

    If the user's ``__str__`` or ``__repr__`` raises, that exception is described instead.
    """
    try:
        return _described(error)
    except BaseException:  # noqa: BLE001 - a metaclass of the user's, that is, or there is no memory
        return "an exception that can't be described, since describing it raises another"


def _described(error: BaseException) -> str:
    try:
        message = _message(error)
    except BaseException as nested:  # noqa: BLE001 - the user's __str__
        message = f"(its message raised {type(nested).__name__})"
    head = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if len(head) > MESSAGE_CHARS_MAX:
        head = f"{head[:MESSAGE_CHARS_MAX]}..."
    try:
        while (at := error.__traceback__) is not None and at.tb_frame.f_globals.get("__package__") == __package__:
            error.__traceback__ = at.tb_next  # our own frames tell the reader nothing
        trace = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - ... or what else it runs
        return head
    if len(trace) > TRACE_CHARS_MAX:
        trace = f"...{trace[-TRACE_CHARS_MAX:]}"
    return f"{head}\n\n{trace.rstrip()}"


def _message(error: BaseException) -> str:
    if not isinstance(error, SystemExit):
        return str(error)
    status, message = exit_status(error)
    return f"exit status {status}: {message}" if message else f"exit status {status}"
