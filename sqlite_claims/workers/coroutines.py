"""Coroutines of all slots on one event loop. Loaded by the first of them, since asyncio takes a while to import.

The loop belongs to all coroutines, and each can end it for the others: by ``sys.exit`` in a task that it has started,
by stopping or breaking the loop, by shutting down its executor, by cancelling every task. The loop goes on where it
can, or another takes its place; the tasks of coroutines that lose their loop are given back at no cost.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any

from .context import TaskContext, WorkerStartError
from .execute import Outcome, Released
from .forked import HomeProcess, leave
from .task_log import log

# Event loops in a row that broke before a coroutine had ended on them.
_BROKEN_MAX = 5


class Coroutines:
    """Runs the coroutines of one run: on one event loop, as long as that works."""

    def __init__(self, home: HomeProcess) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._loops: list[LoopThread] = []
        self._broken = 0

    def wait_for(self, awaitable: Awaitable[Any], task: TaskContext) -> Outcome:
        """Block until the coroutine is done: its error or its value. It is cancelled when the attempt is dropped.

        The error is ``Released`` if the loop ended under it. An exception raised by this method itself is not the
        coroutine's error.
        """
        return self._loop().wait_for(awaitable, task)

    def leave_behind(self) -> None:
        """Run later coroutines on another loop: one that was cancelled has not ended, and may block this one."""
        with self._lock:
            if self._loops:
                self._loops[-1].is_left = True

    def stop(self, timeout: float) -> None:
        """Cancel what still runs and end the threads; one that doesn't end is left behind (it is a daemon)."""
        for loop in self._loops:
            loop.stop()
        for loop in self._loops:
            loop.join(timeout)

    def _loop(self) -> LoopThread:
        with self._lock:
            last = self._loops[-1] if self._loops else None
            if last is not None and last.is_whole():
                return last
            if last is not None and not last.is_left:
                self._broken = 0 if last.completed else self._broken + 1
                log.warning("the event loop of the coroutines was broken by one of them; a new one takes its place")
                if self._broken >= _BROKEN_MAX:
                    raise WorkerStartError(f"{self._broken} event loops in a row were broken by the coroutines on them")
            loop = LoopThread(self._home)
            if last is not None:
                last.stop_when_empty()
                self._loops = [old for old in self._loops if old.is_alive()]
            self._loops.append(loop)
            return loop


class _HandlerTask(asyncio.Task[Outcome]):
    """The asyncio task of a handler, which knows whether another handler has cancelled it."""

    call: _Call
    by_another = False

    def cancel(self, msg: Any | None = None) -> bool:
        canceller = _current_call.get(None)
        if canceller is not None and canceller is not self.call:
            self.by_another = True
        return super().cancel(msg)


class _Call:
    """One coroutine of a handler, and the slot that waits for its end."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.awaitable = awaitable
        self.future: Future[Outcome] = Future()
        self.task: _HandlerTask | None = None
        self.is_cancelled = False

    def end(self, error: BaseException | None, value: Any = None) -> None:
        """The first end counts."""
        if not self.future.done():
            self.future.set_result((error, value))

    def abandon(self) -> None:
        """Handle the loss of its loop: end the coroutine where it waits, and have its task given back."""
        if self.task is not None:
            self.task._log_destroy_pending = False  # type: ignore[attr-defined] # as asyncio.gather does it
            with suppress(Exception):  # of the user's code
                self.task.get_coro().close()
        self.end(Released())


_current_call: ContextVar[_Call | None] = ContextVar("current_call")


class LoopThread:
    """One event loop on a thread of its own."""

    def __init__(self, home: HomeProcess) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()
        self._ending = False
        self._over = False
        self.is_left = False
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
        """Whether the loop is still fully usable for coroutines."""
        return not (self._over or self.is_left or self._loop.is_closed() or self._has_lost_executor())

    def is_alive(self) -> bool:
        """Whether the loop's thread runs."""
        return self._thread.is_alive()

    def _has_lost_executor(self) -> bool:
        if getattr(self._loop, "_executor_shutdown_called", False):
            return True
        return bool(getattr(getattr(self._loop, "_default_executor", None), "_shutdown", False))

    def wait_for(self, awaitable: Awaitable[Any], task: TaskContext) -> Outcome:
        """Run it on the loop and block until it is done: its error or its value."""
        call = _Call(awaitable)
        with self._lock:
            self._calls.add(call)
            if self._over:
                call.end(Released())
        try:
            self._tell(self._begin, call)
            task._on_drop = lambda: self._tell(self._cancel, call)
            if task.cancelled.is_set():  # dropped before the line above could be seen
                task._on_drop()
            error, value = call.future.result()
        finally:
            with self._lock:
                self._calls.discard(call)
            if self._ending and not self._calls:
                self.stop()
        if isinstance(error, RuntimeError) and self._has_lost_executor():
            return Released(), None
        self.completed += not isinstance(error, Released)
        return error, value

    def stop_when_empty(self) -> None:
        """Take no more coroutines, and end with the last of those that it has."""
        self._ending = True
        if not self._calls:
            self.stop()

    def stop(self) -> None:
        """Cancel what still runs there and end the thread."""
        self._ending = True
        self._tell(self._loop.stop)

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout)

    def _tell(self, callback: Any, *args: Any) -> None:
        # In an empty context: the run cancels here, not a handler.
        with suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(callback, *args, context=Context())

    # -- on the loop

    def _begin(self, call: _Call) -> None:
        if call.is_cancelled:
            call.end(asyncio.CancelledError())
            return
        context = copy_context()
        context.run(_current_call.set, call)
        call.task = task = _HandlerTask(_outcome(call.awaitable, self._home), loop=self._loop, context=context)
        task.call = call
        task.add_done_callback(lambda _: self._end(call, task))

    def _end(self, call: _Call, task: _HandlerTask) -> None:
        if task.cancelled():
            call.end(Released() if task.by_another else asyncio.CancelledError())
        else:
            error = task.exception()
            call.end(*(task.result() if error is None else (error, None)))

    def _cancel(self, call: _Call) -> None:
        call.is_cancelled = True
        if call.task is not None:
            call.task.cancel()

    # -- the thread

    def _work(self) -> None:
        try:
            self._run_on()
        except BaseException as error:  # noqa: BLE001 - whatever a broken loop raises
            log.error("the event loop of the coroutines is broken: %r", error)
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
                    log.warning("a task that a coroutine has started raised %r: the event loop goes on", error)
                finally:
                    self._home.leave_if_forked()
                if self._ending:
                    return


async def _outcome(awaitable: Awaitable[Any], home: HomeProcess) -> Outcome:
    """The error as a value: a SystemExit raised inside a task would end the loop for all of them."""
    try:
        value = await awaitable
    except asyncio.CancelledError as error:
        home.leave_if_forked(error)
        raise
    except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
        home.leave_if_forked(error)
        return error, None
    home.leave_if_forked()
    return None, value


_loops: weakref.WeakSet[LoopThread] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Forked by a coroutine: its child leaves where its step ends, before another coroutine of ours runs there, or the
    loop uses descriptors that it shares with the parent's."""
    for thread in list(_loops):
        if thread._thread.ident == threading.get_ident():
            ready = getattr(thread._loop, "_ready", None)
            if ready is not None:
                ready.clear()
            thread._loop.call_soon(leave)


os.register_at_fork(after_in_child=_after_fork_in_child)
