"""Runs the coroutines of all slots on one event loop.

A worker imports this module when a handler first returns a coroutine, because the import of asyncio is slow. The
coroutines share the loop, and each coroutine can end the loop for all coroutines. For example, a coroutine can stop the
loop, shut down the loop's executor, or cancel every asyncio task. A coroutine can also start an asyncio task that calls
``sys.exit``. If a coroutine ends the loop, the same loop continues if possible. Otherwise, a new loop replaces the
broken loop. If a loop ends while a coroutine is still running, the coroutine's task is released, and the attempt does
not count.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVarTuple

from .context import TaskContext, WorkerStartError
from .execute import CoroutineOutcome, EventLoopLost
from .forked import HomeProcess, leave
from .task_log import log

Arguments = TypeVarTuple("Arguments")

# The worker stops if this many event loops in a row have broken before any coroutine ended on one of these loops.
_BROKEN_MAX = 5
# A lifespan on a blocked event loop may take this many seconds to end.
_BLOCKED_S_MAX = 1.0


class Coroutines:
    """Runs the coroutines of one worker on an event loop, and replaces a loop that no longer works."""

    def __init__(self, home: HomeProcess) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._loops: list[LoopThread] = []
        self._broken = 0
        self._has_lifespans = False

    def wait_for(self, awaitable: Awaitable[object], task: TaskContext) -> CoroutineOutcome:
        """Block until the coroutine has ended, and return its error or its value. Cancel the coroutine if the task's
        attempt is dropped.

        The returned error is ``EventLoopLost`` if the loop ended before the coroutine. The coroutine's own error is
        returned, never raised.
        """
        return self._loop().wait_for(awaitable, task)

    def enter_lifespan(self, function: Callable[[], AsyncIterator[object]]) -> Callable[[], None]:
        """Run an async generator function up to its ``yield``. Return the function that runs the rest."""
        loop = self._loop()
        self._has_lifespans = True
        lifespan = AsyncLifespan(function, loop)
        lifespan.enter()
        return lifespan.leave

    def abandon_loop(self) -> None:
        """Run later coroutines on a new loop, because a cancelled coroutine has not ended and may block the current
        loop."""
        with self._lock:
            if self._loops:
                self._loops[-1].is_abandoned = True

    def stop(self, timeout: float) -> None:
        """Cancel the coroutines that still run, and end the event loop threads. The threads are daemon threads, so the
        program can end even if an event loop thread is still running after ``timeout``."""
        for loop in self._loops:
            loop.stop()
        for loop in self._loops:
            loop.join(timeout)

    def _loop(self) -> LoopThread:
        with self._lock:
            last = self._loops[-1] if self._loops else None
            if last is not None and last.is_whole():
                return last
            if last is not None and self._has_lifespans:
                raise WorkerStartError("the event loop in which the lifespans were entered is blocked or broken")
            if last is not None and not last.is_abandoned:
                self._broken = 0 if last.completed else self._broken + 1
                log.warning("a coroutine broke the event loop of the worker; a new event loop is started")
                if self._broken >= _BROKEN_MAX:
                    raise WorkerStartError(f"coroutines broke {self._broken} event loops in a row")
            loop = LoopThread(self._home)
            if last is not None:
                last.stop_when_empty()
                self._loops = [old for old in self._loops if old.is_alive()]
            self._loops.append(loop)
            return loop


class _HandlerTask(asyncio.Task[CoroutineOutcome]):
    """The asyncio task of a handler's coroutine. The object records whether the code of a different handler has
    cancelled the asyncio task."""

    call: _Call
    cancelled_by_another = False

    def cancel(self, msg: Any | None = None) -> bool:
        canceller = _current_call.get(None)
        if canceller is not None and canceller is not self.call:
            if self.call.is_lifespan:
                return False
            self.cancelled_by_another = True
        return super().cancel(msg)


class _Call:
    """A coroutine of a handler or of a lifespan. A slot, or the worker's main loop, waits for the coroutine's
    outcome."""

    def __init__(self, awaitable: Awaitable[object], *, is_lifespan: bool = False) -> None:
        self.awaitable = awaitable
        self.is_lifespan = is_lifespan
        self.context = copy_context()  # the context of the handler that made the coroutine
        self.future: Future[CoroutineOutcome] = Future()
        self.task: _HandlerTask | None = None
        self.is_cancelled = False

    def end(self, outcome: CoroutineOutcome) -> None:
        """Set the outcome, unless an outcome is set already."""
        if not self.future.done():
            self.future.set_result(outcome)

    def abandon(self) -> None:
        """Close the coroutine, because its event loop is lost. The slot that waits for the
        coroutine then releases the task."""
        if self.task is not None:
            self.task._log_destroy_pending = False  # type: ignore[attr-defined] # asyncio.gather sets this, too
            with suppress(Exception):  # an exception of the user's code
                self.task.get_coro().close()
        self.end(_loop_lost())


def _loop_lost() -> CoroutineOutcome:
    return CoroutineOutcome(EventLoopLost())


_current_call: ContextVar[_Call | None] = ContextVar("current_call")


class LoopThread:
    """An event loop and the thread that runs the loop."""

    def __init__(self, home: HomeProcess) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()
        self._ending = False
        self._over = False
        self.is_abandoned = False
        self.completed = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="claims-coroutines", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise
        _loops.add(self)

    def is_whole(self) -> bool:
        """Return whether the loop can still run any coroutine."""
        return not (self._over or self.is_abandoned or self._loop.is_closed() or self._has_lost_executor())

    def is_alive(self) -> bool:
        """Return whether the event loop's thread is still running."""
        return self._thread.is_alive()

    def _has_lost_executor(self) -> bool:
        if getattr(self._loop, "_executor_shutdown_called", False):
            return True
        return bool(getattr(getattr(self._loop, "_default_executor", None), "_shutdown", False))

    def wait_for(self, awaitable: Awaitable[object], task: TaskContext) -> CoroutineOutcome:
        """Run a coroutine on the loop, block until it has ended, and return its error or its value."""
        call = _Call(awaitable)
        try:
            self.begin(call)
            task._on_drop = lambda: self.call_on_loop(self._cancel, call)
            if task.cancelled.is_set():  # the attempt was dropped before the attribute _on_drop was set
                task._on_drop()
            outcome = call.future.result()
        finally:
            self.discard(call)
        if isinstance(outcome.error, RuntimeError) and self._has_lost_executor():
            return _loop_lost()
        self.completed += not isinstance(outcome.error, EventLoopLost)
        return outcome

    def begin(self, call: _Call) -> None:
        """Start to run a coroutine on the loop."""
        with self._lock:
            self._calls.add(call)
            if self._over:
                call.end(_loop_lost())
        self.call_on_loop(self._begin, call)

    def discard(self, call: _Call) -> None:
        """Remove a coroutine that has ended, or whose outcome is not needed."""
        with self._lock:
            self._calls.discard(call)
        if self._ending and not self._calls:
            self.stop()

    def stop_when_empty(self) -> None:
        """Accept no more coroutines, and stop the loop when the last running coroutine has ended."""
        self._ending = True
        if not self._calls:
            self.stop()

    def stop(self) -> None:
        """Cancel the coroutines that still run, and end the event loop's thread."""
        self._ending = True
        self.call_on_loop(self._loop.stop)

    def join(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for the end of the event loop's thread."""
        self._thread.join(timeout)

    def call_on_loop(self, callback: Callable[[*Arguments], object], *args: *Arguments) -> None:
        """Call a function on the event loop's thread, unless the loop is closed."""
        # The callback runs in an empty context. If the callback cancels a coroutine, the cancellation therefore counts
        # as made by the worker, not by a different handler.
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(callback, *args, context=Context())

    # -- called on the event loop

    def _begin(self, call: _Call) -> None:
        if call.is_cancelled:
            call.end(CoroutineOutcome(asyncio.CancelledError()))
            return
        context = call.context
        context.run(_current_call.set, call)
        call.task = task = _HandlerTask(_outcome(call.awaitable, self._home), loop=self._loop, context=context)
        task.call = call
        task.add_done_callback(lambda _: self._end(call, task))

    def _end(self, call: _Call, task: _HandlerTask) -> None:
        if task.cancelled():
            call.end(_loop_lost() if task.cancelled_by_another else CoroutineOutcome(asyncio.CancelledError()))
        else:
            error = task.exception()
            call.end(task.result() if error is None else CoroutineOutcome(error))

    def _cancel(self, call: _Call) -> None:
        call.is_cancelled = True
        if call.task is not None:
            call.task.cancel()

    # -- called on the thread

    def _work(self) -> None:
        try:
            self._run_on()
        except BaseException as error:  # noqa: BLE001 - a broken loop may raise any error
            log.error("the event loop of the worker failed: %r", error)
        finally:
            self._home.leave_if_forked()
            with self._lock:
                self._over = True
                calls = list(self._calls)
            for call in calls:
                call.abandon()

    def _run_on(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop()
            while True:
                try:
                    self._loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:
                    self._home.leave_if_forked(error)
                    log.warning("a task that a coroutine has started raised %r, but the event loop continues", error)
                finally:
                    self._home.leave_if_forked()
                if self._ending:
                    return


class AsyncLifespan:
    """A lifespan on an event loop. One asyncio task runs the whole async generator, so that a lifespan can use
    ``asyncio.TaskGroup`` and ``asyncio.timeout`` around its ``yield``."""

    def __init__(self, function: Callable[[], AsyncIterator[object]], loop: LoopThread) -> None:
        self._loop = loop
        self._entered: Future[None] = Future()
        self._may_leave = asyncio.Event()
        self._call = _Call(self._run(asynccontextmanager(function)()), is_lifespan=True)
        self._call.future.add_done_callback(self._end)

    def enter(self) -> None:
        """Run the lifespan up to its ``yield``. Raise the error that the lifespan raises before its ``yield``."""
        self._loop.begin(self._call)
        self._entered.result()
        if self._call.future.done():
            self._raise_error()

    def leave(self) -> None:
        """Run the rest of the lifespan, and raise its error."""
        self._loop.call_on_loop(self._may_leave.set)
        with suppress(TimeoutError):
            # If a coroutine that ignores its cancellation blocks the loop, the lifespan cannot be left.
            self._call.future.result(_BLOCKED_S_MAX if self._loop.is_abandoned else None)
        if not self._call.future.done():
            self._call.end(_loop_lost())
        self._raise_error()

    async def _run(self, manager: AbstractAsyncContextManager[object]) -> None:
        await manager.__aenter__()
        self._entered.set_result(None)
        await self._may_leave.wait()
        # The code after the yield also runs after an error, so the error is not raised at the yield.
        await manager.__aexit__(None, None, None)

    def _end(self, _: Future[CoroutineOutcome]) -> None:
        if not self._entered.done():
            self._entered.set_result(None)

    def _raise_error(self) -> None:
        self._loop.discard(self._call)
        error = self._call.future.result().error
        if isinstance(error, EventLoopLost):
            raise WorkerStartError("a lifespan did not end, because its event loop is blocked or broken")
        if error is not None:
            raise error


async def _outcome(awaitable: Awaitable[object], home: HomeProcess) -> CoroutineOutcome:
    """Await the coroutine, and return its value, or its error as a value. The error is not raised, because a
    ``SystemExit`` raised by the asyncio task would end the loop for all coroutines."""
    try:
        value = await awaitable
    except asyncio.CancelledError as error:
        home.leave_if_forked(error)
        raise
    except BaseException as error:  # noqa: BLE001 - the thread that waits for the outcome raises the error
        home.leave_if_forked(error)
        return CoroutineOutcome(error)
    home.leave_if_forked()
    return CoroutineOutcome(None, value)


_loops: weakref.WeakSet[LoopThread] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Let a child process that a coroutine has forked end as soon as the coroutine waits. Otherwise the child would
    also run other coroutines, and the child's loop would use the descriptors of the parent's loop."""
    for thread in list(_loops):
        if thread._thread.ident == threading.get_ident():
            ready = getattr(thread._loop, "_ready", None)
            if ready is not None:
                ready.clear()
            thread._loop.call_soon(leave)


os.register_at_fork(after_in_child=_after_fork_in_child)
