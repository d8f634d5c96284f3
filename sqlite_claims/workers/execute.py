"""Runs one handler and returns the handler's result. The module uses neither the store nor claims."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import NamedTuple

from .. import validate
from ..errors import InvalidStateError
from . import program_end
from .context import FailTask, Reason, RetryTask, Runner, SnoozeTask, StopWorker, TaskContext, WorkerStartError, current
from .forked import HomeProcess, exit_status

MESSAGE_CHARS_MAX = 2_000
TRACE_CHARS_MAX = 8_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A result: the attempt has failed. If ``retry`` is ``False``, the task fails without another attempt.

    ``cause``: the exception that ``error`` describes. ``retry_in_s``: the seconds until the next attempt. ``None``: the
    task's retry policy applies. ``timed_out``: the attempt ran for longer than its timeout.
    """

    error: str
    retry: bool = True
    cause: BaseException | None = None
    retry_in_s: float | None = None
    timed_out: bool = False

    def options(self) -> dict[str, object]:
        """Return the arguments of ``fail_task`` that describe this failure."""
        return {"retry": self.retry, "retry_in": self.retry_in_s, "timed_out": self.timed_out}


@dataclass(frozen=True, slots=True)
class Snooze:
    """A result: the task is released, and can be claimed again after ``delay_s`` seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Quit:
    """A result: the task is released and the worker's run ends, because the handler raised ``cause``, or because the
    program is ending."""

    reason: Reason
    cause: BaseException
    by_handler: bool = True


@dataclass(frozen=True, slots=True)
class Abort:
    """A result: the worker cannot continue because of the error ``cause``, for which the task is not responsible. The
    worker's run ends, and the task is released."""

    cause: BaseException


@dataclass(frozen=True, slots=True)
class Release:
    """A result: the task is released without counting the attempt, because the attempt ended for a reason outside the
    task."""


Result = bytes | Failure | Snooze | Quit | Abort | Release


class EventLoopLost(BaseException):
    """The event loop ended while a coroutine was still running on the loop. The coroutine's task is released, and the
    attempt does not count."""


class CoroutineFailed(BaseException):
    """A coroutine cannot be run because the worker could not run an event loop. The worker's run ends."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


class CoroutineOutcome(NamedTuple):
    """The error that a coroutine raised, or ``None`` and the value that the coroutine returned."""

    error: BaseException | None
    value: object = None


WaitFor = Callable[[Awaitable[object], TaskContext], CoroutineOutcome]


def execute(handler: Runner, task: TaskContext, wait_for: WaitFor, home: HomeProcess) -> Result:
    """Call the handler and return a ``Result``, both if the handler returns a value and if it raises an exception.

    The handler runs in a copy of the thread's context, so context variables that the handler sets are discarded
    afterwards. If the handler returns a coroutine, ``wait_for`` runs the coroutine to its end, in a copy of that
    context. If the handler has forked the process ``home``, ``execute`` ends the forked child and returns only in the
    process ``home``.
    """
    value: object
    context = copy_context()
    context.run(current.set, task)
    try:
        value = context.run(handler, task)
        if value is not None and type(value) is not bytes and isinstance(value, Awaitable):
            home.leave_if_forked()
            value = context.run(_value_of, wait_for, value, task)
        home.leave_if_forked()
    except BaseException as error:  # noqa: BLE001 - a CancelledError, for example, must not end the thread
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
    except Exception as fault:  # noqa: BLE001 - not the coroutine's error, which wait_for would return
        error, value = CoroutineFailed(WorkerStartError(f"cannot run a coroutine: {describe(fault)}")), None
    if error is None:
        return value
    with suppress(Exception):  # the awaitable has no close method, or has ended
        awaitable.close()  # type: ignore[attr-defined] # avoids Python's warning "was never awaited"
    raise error


def _result_of_value(value: object) -> Result:
    """Return the result for a value that is not ``None`` and whose type is not exactly ``bytes``."""
    try:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return memoryview(value).tobytes()
        error = f"a handler's result must be bytes-like, not {type(value).__name__}: {validate.shown(value)}"
    except KeyboardInterrupt as interrupt:  # on the main thread, Ctrl-C can be pressed at this moment
        return Quit("interrupted", interrupt)
    except BaseException as nested:  # noqa: BLE001 - raised by the user's __repr__ or by a released memoryview
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
        if isinstance(error, RetryTask):
            delay_s = None if error.delay is None else validate.duration_us("delay", error.delay) / 1e6
            return Failure(str(error.error) or describe(error), cause=error, retry_in_s=delay_s)
        if isinstance(error, SnoozeTask):
            return Snooze(validate.duration_us("delay", error.delay) / 1e6)
        if isinstance(error, (KeyboardInterrupt, StopWorker)):
            return Quit("interrupted" if isinstance(error, KeyboardInterrupt) else "stopped", error)
        if isinstance(error, BaseExceptionGroup):
            # For example, an asyncio.TaskGroup raises an exception group.
            inner = error.subgroup((KeyboardInterrupt, StopWorker))
            if inner is not None:
                return _result_of_error(_first_leaf(inner))
        if program_end.refuses_work(error):
            ending = InvalidStateError("the program is ending, so its handlers cannot continue: the task is released")
            ending.__cause__ = error
            return Quit("stopped", ending, by_handler=False)
    except KeyboardInterrupt as interrupt:  # the user pressed Ctrl-C a second time
        return Quit("interrupted", interrupt)
    except BaseException as nested:  # noqa: BLE001 - raised by an attribute or a __str__ of the user's code
        return Failure(describe(nested), cause=nested)
    return Failure(describe(error), cause=error)


def _first_leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def describe(error: BaseException) -> str:
    """Return a text with the error's type and message on the first line, followed by the traceback. The message and the
    traceback are cut to a maximum length, because the text is stored.

    If the user's ``__str__`` or ``__repr__`` raises, the text names that exception instead of the message.
    """
    try:
        return _describe(error)
    except BaseException:  # noqa: BLE001 - raised by the user's metaclass, for example, or because there is no memory
        return "an exception that cannot be described, because describing it raises a second exception"


def _describe(error: BaseException) -> str:
    try:
        message = _message(error)
    except BaseException as nested:  # noqa: BLE001 - raised by the user's __str__
        message = f"(its message raised {type(nested).__name__})"
    head = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if len(head) > MESSAGE_CHARS_MAX:
        head = f"{head[:MESSAGE_CHARS_MAX]}..."
    try:
        while (at := error.__traceback__) is not None and at.tb_frame.f_globals.get("__package__") == __package__:
            error.__traceback__ = at.tb_next  # the traceback then contains no stack frames of this library
        trace = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - raised by other user code that the formatting runs
        return head
    if len(trace) > TRACE_CHARS_MAX:
        trace = f"...{trace[-TRACE_CHARS_MAX:]}"
    return f"{head}\n\n{trace.rstrip()}"


def _message(error: BaseException) -> str:
    if not isinstance(error, SystemExit):
        return str(error)
    status, message = exit_status(error)
    return f"exit status {status}: {message}" if message else f"exit status {status}"
