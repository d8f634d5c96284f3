"""Runs one handler and says what came of it. Nothing here knows a store or a claim's life."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Awaitable
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
    """The attempt failed; ``retry=False``: for good."""

    error: str
    retry: bool = True


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


def execute(handler: Handler, task: TaskContext, loop: LoopThread) -> Result:
    """Call the handler; whatever it does comes back as a result."""
    try:
        value = handler(task)
        if value is None:
            return b""
        if type(value) is not bytes and isinstance(value, Awaitable):
            value = loop.wait_for(value, task)
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
        return Failure(describe(error))


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


class LoopThread:
    """One event loop on a thread of its own, for the coroutines of all lanes; started by the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def wait_for(self, awaitable: Awaitable[Any], task: TaskContext) -> Any:
        """Run it on the loop and block until it is done; it is cancelled when the attempt is dropped."""
        future = asyncio.run_coroutine_threadsafe(_settle(awaitable), self._started())
        task._on_drop = future.cancel
        if task.cancelled.is_set():  # dropped before the line above could be seen
            future.cancel()
        error, value = future.result()
        if error is not None:
            raise error
        return value

    def stop(self, timeout: float) -> None:
        """Cancel what still runs there and end the thread; one that won't end is left behind (it is a daemon)."""
        with self._lock:
            loop, end, thread, self._loop = self._loop, self._end, self._thread, None
        if loop is not None and end is not None and thread is not None:
            loop.call_soon_threadsafe(end.set)
            thread.join(timeout)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                ready = threading.Event()
                self._thread = threading.Thread(
                    target=lambda: asyncio.run(self._live(ready)), name="claims-coroutines", daemon=True
                )
                self._thread.start()
                ready.wait()
            assert self._loop is not None
            return self._loop

    async def _live(self, ready: threading.Event) -> None:
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ready.set()
        await self._end.wait()


async def _settle(awaitable: Awaitable[Any]) -> tuple[BaseException | None, Any]:
    """The error as a value: a SystemExit raised inside a task would end the loop for all of them."""
    try:
        return None, await awaitable
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again by wait_for
        return error, None
