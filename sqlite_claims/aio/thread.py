"""The only thread of an asynchronous store. The thread runs the store's calls in the order in which they are made.

One thread is enough, because the synchronous store has only one lock, and because a transaction belongs to the thread
that began it. Each access to the synchronous store is a call in this thread's queue. This rule includes the calls that
open or close the store. This rule also includes a call that undoes an earlier call, because the caller did not receive
the result.

While a transaction is open, only calls made within the transaction run. All other calls are deferred until the
transaction has ended or has timed out.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast

from ..errors import BackendError, InvalidStateError, StoreBusyError, StoreClosedError, StoreUnavailableError
from ..front import OpenTransaction
from ..sqlite.store import SqliteClaimStore

T = TypeVar("T")
# The longest single wait for the queue. A longer wait consists of several waits.
_WAIT_S_MAX = 3600.0


class Scope:
    """Identifies one transaction. The object is created before the transaction begins. ``tx`` is the open
    transaction."""

    __slots__ = ("tx",)

    def __init__(self) -> None:
        self.tx: OpenTransaction | None = None


# The transactions whose ``async with`` blocks the current asyncio task has entered. An asyncio task that is started
# within a block inherits this value.
entered: ContextVar[tuple[Scope, ...]] = ContextVar("entered", default=())


class Call(Generic[T]):
    """One call: the function to run, the event loop to notify, and a function that undoes the call if the loop cannot
    be notified."""

    __slots__ = ("_decided", "_loop", "arrived", "error", "patience", "result", "run", "scopes", "undo", "until")

    def __init__(
        self,
        run: Callable[[], T],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        scopes: tuple[Scope, ...] = (),
        undo: Callable[[T], object] | None = None,
        patience: float | None = math.inf,
    ) -> None:
        """``loop``: the event loop of the caller, or ``None`` if no caller waits. ``scopes``: the transactions within
        which the call is made. ``undo``: a function that is called with the result if the caller did not receive the
        result. ``patience``: the longest time in seconds for which the call may be deferred. ``None`` means
        ``busy_timeout``."""
        self.run = run
        self.scopes = scopes
        self.undo = undo
        self.patience = patience
        self.until = 0.0
        self.result: T | None = None
        self.error: BaseException | None = None
        self.arrived = None if loop is None else loop.create_future()
        self._loop = loop
        self._decided = threading.Lock()

    def decide(self) -> bool:
        """Decide whether the call runs. The store's thread calls ``decide`` before the thread runs the call. A caller
        that gives up calls ``decide`` to prevent the call from running.

        The first call of ``decide`` returns ``True``, and every later call returns ``False``.
        """
        return self._decided.acquire(blocking=False)

    def perform(self) -> bool:
        """Run the call and store its result or error. Return ``False`` if the call raised an error."""
        try:
            self.result = self.run()
        except BaseException as error:  # noqa: BLE001 - outcome() raises the error again for the caller
            self.error = error
            return False
        return True

    def tell(self) -> bool:
        """Notify the caller's event loop that the call has ended. Return ``False`` if the loop is closed."""
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._arrive)
            except RuntimeError:
                return False
        return True

    def _arrive(self) -> None:
        if self.arrived is not None and not self.arrived.done():
            self.arrived.set_result(None)

    def outcome(self) -> T:
        """Return the call's result, or raise its error."""
        error, self.error = self.error, None
        if error is None:
            return cast("T", self.result)
        try:
            raise error
        finally:
            del error, self  # break the reference cycle between these variables and the traceback


class StoreThread:
    """A synchronous store in a file, and the only thread that uses the store.

    ``ask``, ``submit`` and ``stop`` may be called from any thread. The methods below the comment ``on the thread`` may
    be called only from the store's thread.

    After a fork, the child process uses a new thread and an empty queue. The queued calls belong to the parent process.
    """

    def __init__(self, open_store: Callable[[], SqliteClaimStore], path: str) -> None:
        self.path = path
        self._open_store = open_store
        self._store: SqliteClaimStore | None = None
        self._closed = False
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        # The lock is reentrant, because a garbage collection may run while the lock is held. The collection may end an
        # abandoned coroutine, and then submit is called to undo the coroutine's call.
        self._lock = threading.RLock()
        self._queue: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._deferred: deque[Call[Any]] = deque()
        self._open: Scope | None = None
        # Finished calls that have an ``undo`` function, and whose callers have not yet received the result. If the
        # caller removes the call, the caller receives the result. If the thread removes the call, the thread undoes the
        # call.
        self._unclaimed: dict[Call[Any], Any] = {}
        self._thread: threading.Thread | None = None

    # -- for callers

    async def ask(
        self,
        run: Callable[[], T],
        *,
        within: Scope | None = None,
        undo: Callable[[T], object] | None = None,
        patience: float | None = None,
    ) -> T:
        """Run a function on the thread. If the caller is cancelled before the function has begun, the function does not
        run. If the caller cannot receive the result, ``undo`` is run."""
        scopes = entered.get() if within is None else (*entered.get(), within)
        call = Call(run, loop=asyncio.get_running_loop(), scopes=scopes, undo=undo, patience=patience)
        self.submit(call)
        assert call.arrived is not None
        try:
            await call.arrived
        except BaseException:
            if not call.decide() and undo is not None:
                with suppress(StoreClosedError):  # the closed store has already undone the call
                    self.submit(Call(lambda: self._take_back(call), scopes=scopes))
            raise
        if undo is not None and call.error is None and self._unclaimed.pop(call, call) is call:
            raise StoreClosedError(f"{self.path}: the store was closed before the call returned, which undid the call")
        return call.outcome()

    def submit(self, call: Call[Any]) -> None:
        """Put a call into the queue. Raises ``StoreClosedError`` if the store is closed, and ``StoreUnavailableError``
        if no thread can be started."""
        if self._pid != os.getpid():
            self._start_over()
        with self._lock:
            if self._closed:
                raise StoreClosedError(f"{self.path}: the store is closed")
            if self._thread is None or not self._thread.is_alive():
                # A daemon thread does not delay the end of a program that has not closed its store.
                self._thread = threading.Thread(target=self._work, name=f"claims {self.path}", daemon=True)
                try:
                    _start(self._thread, self.path)
                except StoreUnavailableError:
                    self._thread = None
                    raise
            self._queue.put(call)

    def stop(self) -> None:
        """End the thread, because no object refers to the store any more. May be called from any thread."""
        self._queue.put(None)

    # -- on the thread

    def store(self) -> SqliteClaimStore:
        """Return the synchronous store. The first call opens the store. Only the store's thread may call this
        method."""
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def begin(self, scope: Scope, timeout: float, asked: float) -> None:
        """Open a transaction. ``asked`` is the time when the caller began to wait for the transaction. Call this method
        only on the store's thread."""
        if scope.tx is not None:
            raise InvalidStateError("a transaction can be entered only once")
        left = timeout - (time.monotonic() - asked)
        if left < 0:
            raise StoreBusyError(f"{self.path}: calls of other tasks have used the store for more than {timeout:g} s")
        tx = self.store().transaction(left)
        tx.__enter__()
        scope.tx = tx
        self._open = scope

    def end(self, scope: Scope, kind: type[BaseException] | None) -> None:
        """End a transaction. Commit if ``kind`` is ``None``, otherwise roll back. Only the store's thread may call
        this method."""
        assert scope.tx is not None
        if scope is self._open:
            self._open = None
            scope.tx.__exit__(kind, None, None)
        elif kind is None:
            scope.tx._backend.check_usable(writes=True)  # raises the error of a timed-out transaction

    def close(self) -> None:
        """Close the store, and accept no more calls. Only the store's thread may call this method."""
        if self._open is None:
            for call in list(self._unclaimed):
                self._take_back(call)
        if self._store is not None:
            self._store.close()
        with self._lock:
            self._closed = True

    def _work(self) -> None:
        while not self._closed:
            call = self._next()
            if call is None:
                if self._open is not None:
                    self.end(self._open, GeneratorExit)
                self.close()
            elif call.decide():
                self._perform(call)
            del call  # otherwise the call would stay in memory until the next call arrives
        # From here on, no more calls are added to the queue or to the deferred calls.
        while self._deferred or not self._queue.empty():
            left = self._deferred.popleft() if self._deferred else self._queue.get()
            if left is not None:
                self._refuse(left, StoreClosedError(f"{self.path}: the store is closed"))

    def _next(self) -> Call[Any] | None:
        """Return the next call to run, or ``None`` if the thread has to end."""
        while True:
            if self._open is None:
                if self._deferred:
                    return self._deferred.popleft()
                wait = None
            elif (wait := self._time_left(self._open)) <= 0:
                continue
            try:
                call = self._queue.get(timeout=wait)
            except Empty:
                continue
            if call is None or self._open is None or self._open in call.scopes:
                return call
            patience = self.store()._db.busy_timeout if call.patience is None else call.patience
            call.until = time.monotonic() + patience
            self._deferred.append(call)

    def _time_left(self, scope: Scope) -> float:
        """Return the seconds until the open transaction or a deferred call times out. Return 0 if the transaction has
        just timed out, so that this call has ended the transaction."""
        assert scope.tx is not None
        now = time.monotonic()
        if now > scope.tx._backend.deadline:
            # The transaction ends here, because a slow block must not hold the write lock of the file any longer.
            for step in (partial(scope.tx._backend.check_usable, writes=True), partial(self.end, scope, None)):
                with suppress(Exception):  # the thread must continue after any error of the file
                    step()
            return 0
        late = [call for call in self._deferred if now > call.until]
        for call in late:
            self._deferred.remove(call)
            self._refuse(
                call, StoreBusyError(f"{self.path}: another transaction on this store has been open for too long")
            )
        soonest = min((scope.tx._backend.deadline, *(call.until for call in self._deferred)))
        return min(max(soonest - now, 0.001), _WAIT_S_MAX)

    def _refuse(self, call: Call[Any], error: BackendError) -> None:
        if call.decide():
            call.error = error
            call.tell()

    def _perform(self, call: Call[Any]) -> None:
        if call.perform() and call.undo is not None:
            self._unclaimed[call] = call.result
        if not call.tell():
            self._take_back(call)

    def _take_back(self, call: Call[Any]) -> None:
        """Undo a call, unless the caller has received the result or the call has already been undone."""
        if call.undo is not None and call in self._unclaimed:
            result = self._unclaimed.pop(call)
            with suppress(Exception):  # no caller is left that could receive the error
                call.undo(result)


def on_a_thread_of_its_own(run: Callable[[], T], path: str) -> Call[T]:
    """Run a function on a new thread, and return the ``Call`` object. The running event loop is notified when the
    function has ended."""
    call = Call(run, loop=asyncio.get_running_loop())

    def perform() -> None:
        call.perform()
        call.tell()

    _start(threading.Thread(target=perform, name=f"claims {path}, a long read", daemon=True), path)
    return call


def _start(thread: threading.Thread, path: str) -> None:
    try:
        thread.start()
    except Exception as error:  # for example, a limit of threads or processes is reached
        raise StoreUnavailableError(f"{path}: no thread can be started for the store: {error}") from error
