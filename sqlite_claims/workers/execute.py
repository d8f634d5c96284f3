"""Runs one handler and returns its result. Knows neither the store nor claims."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .. import validate
from ..errors import InvalidStateError
from . import program_end
from .context import FailTask, Reason, SnoozeTask, StopWorker, TaskContext, WorkerStartError
from .forked import HomeProcess, exit_status

if TYPE_CHECKING:
    from .registry import Handler

MESSAGE_CHARS_MAX = 2_000
TRACE_CHARS_MAX = 8_000


@dataclass(frozen=True, slots=True)
class Failure:
    """The attempt has failed; with ``retry=False`` the task is not tried again.

    ``cause``: the exception that ``error`` describes.
    """

    error: str
    retry: bool = True
    cause: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """The task is released, and can be claimed again after ``delay_s`` seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Quit:
    """The handler has ended the run by raising ``cause``, or the program is ending; the task is released."""

    reason: Reason
    cause: BaseException
    by_handler: bool = True


@dataclass(frozen=True, slots=True)
class Abort:
    """The worker cannot go on (``cause``), which is no fault of the task: the run ends, the task is released."""

    cause: BaseException


@dataclass(frozen=True, slots=True)
class Release:
    """The task is released at no cost, because the attempt was ended for a reason outside of it."""


Result = bytes | Failure | Snooze | Quit | Abort | Release


class EventLoopLost(BaseException):
    """The event loop ended under a coroutine, whose task is released at no cost."""


class CoroutineFailed(BaseException):
    """A coroutine cannot be run because the worker lacks something that it needs; the run ends."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


class CoroutineOutcome(NamedTuple):
    """The error or, if that is ``None``, the value with which a coroutine ended."""

    error: BaseException | None
    value: object = None


WaitFor = Callable[[Awaitable[object], TaskContext], CoroutineOutcome]


def execute(handler: Handler, task: TaskContext, wait_for: WaitFor, home: HomeProcess) -> Result:
    """Call the handler, and return its result whatever it returns or raises.

    The handler runs in a copy of the thread's context, so that context variables that it sets are gone afterwards. If
    it returns a coroutine, ``wait_for`` runs that to its end. Does not return in a process that the handler has forked
    from ``home``.
    """
    value: object
    try:
        value = copy_context().run(handler, task)
        if value is not None and type(value) is not bytes and isinstance(value, Awaitable):
            home.leave_if_forked()
            value = _value_of(wait_for, value, task)
        home.leave_if_forked()
    except BaseException as error:  # noqa: BLE001 - a stray CancelledError, say, ends the attempt and not the thread
        home.leave_if_forked(error)
        return _result_of_error(error)
    finally:
        if sys.getrecursionlimit() < home.recursion_limit:
            sys.setrecursionlimit(home.recursion_limit)
    if value is None:
        return b""
    if type(value) is bytes:
        return value
    return _result_of_value(value)


def _value_of(wait_for: WaitFor, awaitable: Awaitable[object], task: TaskContext) -> object:
    """Return the coroutine's value, or raise its error."""
    error: BaseException | None
    try:
        error, value = wait_for(awaitable, task)
    except Exception as fault:  # noqa: BLE001 - errors of the coroutine come as values: this one is no fault of the task
        error, value = CoroutineFailed(WorkerStartError(f"cannot run a coroutine: {describe(fault)}")), None
    if error is None:
        return value
    with suppress(Exception):  # an awaitable of another kind, or one that has ended
        awaitable.close()  # type: ignore[attr-defined] # else Python warns that it was never awaited
    raise error


def _result_of_value(value: object) -> Result:
    """Return the result for a value that is neither ``None`` nor of the very type ``bytes``."""
    try:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return memoryview(value).tobytes()
        error = f"a handler's result must be bytes-like, not {type(value).__name__}: {validate.shown(value)}"
    except KeyboardInterrupt as interrupt:  # on the main thread: Ctrl-C, at just this moment
        return Quit("interrupted", interrupt)
    except BaseException as nested:  # noqa: BLE001 - the user's __repr__, or a memoryview that was released
        return Failure(describe(nested), retry=False)
    return Failure(f"{error} (handlers return bytes or None)", retry=False)


def _result_of_error(error: BaseException) -> Result:
    try:
        if isinstance(error, EventLoopLost):
            return Release()
        if isinstance(error, CoroutineFailed):
            return Abort(error.cause)
        if isinstance(error, FailTask):
            return Failure(str(error.error), retry=False)
        if isinstance(error, SnoozeTask):
            return Snooze(validate.duration_us("delay", error.delay) / 1e6)
        if isinstance(error, (KeyboardInterrupt, StopWorker)):
            return Quit("interrupted" if isinstance(error, KeyboardInterrupt) else "stopped", error)
        if isinstance(error, BaseExceptionGroup):
            # Out of a TaskGroup, for example.
            inner = error.subgroup((KeyboardInterrupt, StopWorker))
            if inner is not None:
                return _result_of_error(_first_leaf(inner))
        if program_end.refuses_work(error):
            ending = InvalidStateError("the program is ending, so its handlers cannot go on; the task is released")
            ending.__cause__ = error
            return Quit("stopped", ending, by_handler=False)
    except KeyboardInterrupt as interrupt:  # a second Ctrl-C
        return Quit("interrupted", interrupt)
    except BaseException as nested:  # noqa: BLE001 - attributes that the user's code has set, or its __str__
        return Failure(describe(nested), cause=nested)
    return Failure(describe(error), cause=error)


def _first_leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def describe(error: BaseException) -> str:
    """Return the type and message on the first line, then the traceback; both bounded, since they are stored.

    If the user's ``__str__`` or ``__repr__`` raises, the text names that exception instead of the message.
    """
    try:
        return _describe(error)
    except BaseException:  # noqa: BLE001 - a metaclass of the user's, for example, or there is no memory
        return "an exception that cannot be described, since describing it raises another one"


def _describe(error: BaseException) -> str:
    try:
        message = _message(error)
    except BaseException as nested:  # noqa: BLE001 - the user's __str__
        message = f"(its message raised {type(nested).__name__})"
    head = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if len(head) > MESSAGE_CHARS_MAX:
        head = f"{head[:MESSAGE_CHARS_MAX]}..."
    try:
        while (at := error.__traceback__) is not None and at.tb_frame.f_globals.get("__package__") == __package__:
            error.__traceback__ = at.tb_next  # frames of this library do not help the reader
        trace = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - other code of the user's that formatting runs
        return head
    if len(trace) > TRACE_CHARS_MAX:
        trace = f"...{trace[-TRACE_CHARS_MAX:]}"
    return f"{head}\n\n{trace.rstrip()}"


def _message(error: BaseException) -> str:
    if not isinstance(error, SystemExit):
        return str(error)
    status, message = exit_status(error)
    return f"exit status {status}: {message}" if message else f"exit status {status}"
