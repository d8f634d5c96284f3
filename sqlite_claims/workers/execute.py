"""Runs one handler and says what came of it. Nothing here knows a store or a claim's life."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import validate
from .context import FailTask, Reason, SnoozeTask, TaskContext

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
    """The handler ended the run (``cause``); the task is given back."""

    reason: Reason
    cause: BaseException


Result = bytes | Failure | Snooze | Quit


def execute(handler: Handler, task: TaskContext, wait_for: Callable[[Awaitable[Any], TaskContext], Any]) -> Result:
    """Call the handler; whatever it does comes back as a result. ``wait_for`` sees a coroutine to its end."""
    try:
        value = handler(task)
        if value is None:
            return b""
        if type(value) is not bytes and isinstance(value, Awaitable):
            value = wait_for(value, task)
            if value is None:
                return b""
        return validate.data("a handler's result", value)
    except FailTask as error:
        return Failure(error.error, retry=False)
    except SnoozeTask as snooze:
        return Snooze(snooze.delay)
    except SystemExit as error:
        return Quit("stopped", error)
    except KeyboardInterrupt as error:
        return Quit("interrupted", error)
    except BaseException as error:  # noqa: BLE001 - what a stray CancelledError ends is the attempt, not the thread
        return Failure(describe(error), cause=error)


def describe(error: BaseException) -> str:
    """Type and message on the first line, then the traceback; both bounded, since they are stored."""
    try:
        message = str(error)
    except Exception as nested:  # noqa: BLE001 - the user's __str__
        message = f"(its message raised {type(nested).__name__})"
    head = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if len(head) > MESSAGE_CHARS_MAX:
        head = f"{head[:MESSAGE_CHARS_MAX]}..."
    if error.__traceback__ is not None and error.__traceback__.tb_frame.f_code is execute.__code__:
        error.__traceback__ = error.__traceback__.tb_next  # our own frame tells the reader nothing
    try:
        trace = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - ... or what else it runs
        return head
    if len(trace) > TRACE_CHARS_MAX:
        trace = f"...{trace[-TRACE_CHARS_MAX:]}"
    return f"{head}\n\n{trace.rstrip()}"
