"""The one thread on which a store's calls run, in the order in which they are made.

One thread, because the store has one lock anyway, and a transaction belongs to the thread that began it. Everything
that touches the store is a call in this thread's queue, also opening and closing it, and undoing a call whose result
nobody got.

While a transaction is open, only calls made within it run; all others are put off until it has ended, or its time is
up.
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
# The longest wait on the queue. A longer one waits again.
_WAIT_S_MAX = 3600.0


class Scope:
    """One ``transaction()``, from before it begins until after it has ended."""

    __slots__ = ("tx",)

    def __init__(self) -> None:
        self.tx: OpenTransaction | None = None


# The transactions whose blocks this task is in. Tasks that are started within a block inherit it.
entered: ContextVar[tuple[Scope, ...]] = ContextVar("entered", default=())


class Call(Generic[T]):
    """One call: the function to run, the loop to notify, and how to undo the call if that fails."""

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
        """``loop``: the caller's, if anybody waits. ``scopes``: the transactions within which it is made. ``undo``: run
        with the result if nobody got it. ``patience``: seconds it may be put off; ``None``: ``busy_timeout``."""
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
        """Decide whether the call is run: by the thread that starts it, or by the caller that gives up.

        Return ``True`` for the first of the two, ``False`` for the other.
        """
        return self._decided.acquire(blocking=False)

    def perform(self) -> bool:
        """Run the call and keep its result or error. Return ``False`` if it raised."""
        try:
            self.result = self.run()
        except BaseException as error:  # noqa: BLE001 - raised again where the call was made
            self.error = error
            return False
        return True

    def tell(self) -> bool:
        """Let the caller know that it is done. ``False`` where its loop is no more."""
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
            del error, self  # the traceback would hold them, and they the traceback


class StoreThread:
    """A file store and the thread that uses it.

    ``ask``, ``submit`` and ``stop`` may be called from any thread, the methods below ``on the thread`` only from this
    one.

    After a fork the child begins with a new thread and an empty queue. The queued calls belong to the parent.
    """

    def __init__(self, open_store: Callable[[], SqliteClaimStore], path: str) -> None:
        self.path = path
        self._open_store = open_store
        self._store: SqliteClaimStore | None = None
        self._closed = False
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        # Reentrant: collecting garbage within may end a forgotten coroutine, whose call then has to be undone.
        self._lock = threading.RLock()
        self._queue: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._deferred: deque[Call[Any]] = deque()
        self._open: Scope | None = None
        # Finished calls whose callers have not taken the result yet. Removing a call from here decides
        # between taking its result and undoing it.
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
        """Run something on the thread. If the caller is cancelled before it has begun, it is not run; if the caller
        can't be given the result, it is undone."""
        scopes = entered.get() if within is None else (*entered.get(), within)
        call = Call(run, loop=asyncio.get_running_loop(), scopes=scopes, undo=undo, patience=patience)
        self.submit(call)
        assert call.arrived is not None
        try:
            await call.arrived
        except BaseException:
            if not call.decide() and undo is not None:
                with suppress(StoreClosedError):  # closing has undone it
                    self.submit(Call(lambda: self._take_back(call), scopes=scopes))
            raise
        if undo is not None and call.error is None and self._unclaimed.pop(call, call) is call:
            raise StoreClosedError(f"{self.path}: the store was closed before the call returned, and so undid it")
        return call.outcome()

    def submit(self, call: Call[Any]) -> None:
        """Put a call into the queue. Raises ``StoreClosedError``, and ``StoreUnavailableError`` without a thread."""
        if self._pid != os.getpid():
            self._start_over()
        with self._lock:
            if self._closed:
                raise StoreClosedError(f"{self.path}: the store is closed")
            if self._thread is None or not self._thread.is_alive():
                # A daemon: a program that ends without closing its store is not held up.
                self._thread = threading.Thread(target=self._work, name=f"claims {self.path}", daemon=True)
                try:
                    _start(self._thread, self.path)
                except StoreUnavailableError:
                    self._thread = None
                    raise
            self._queue.put(call)

    def stop(self) -> None:
        """End the thread, since nobody refers to the store any more. May be called from anywhere."""
        self._queue.put(None)

    # -- on the thread

    def store(self) -> SqliteClaimStore:
        """Return the store; the first call opens it. On the thread."""
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def begin(self, scope: Scope, timeout: float, asked: float) -> None:
        """Open a transaction, for which somebody has waited since ``asked``. On the thread."""
        if scope.tx is not None:
            raise InvalidStateError("a transaction can be entered once")
        left = timeout - (time.monotonic() - asked)
        if left < 0:
            raise StoreBusyError(f"{self.path}: other calls have kept the store for more than {timeout:g} s")
        tx = self.store().transaction(left)
        tx.__enter__()
        scope.tx = tx
        self._open = scope

    def end(self, scope: Scope, kind: type[BaseException] | None) -> None:
        """End a transaction: commit it, if ``kind`` is ``None``. On the thread."""
        assert scope.tx is not None
        if scope is self._open:
            self._open = None
            scope.tx.__exit__(kind, None, None)
        elif kind is None:
            scope.tx._backend.check_usable(writes=True)  # it was ended when its time was up, and says so

    def close(self) -> None:
        """Close the store, and take no more calls. On the thread."""
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
            del call  # nothing is kept while waiting for the next
        # Nobody can add to these any more.
        while self._deferred or not self._queue.empty():
            left = self._deferred.popleft() if self._deferred else self._queue.get()
            if left is not None:
                self._refuse(left, StoreClosedError(f"{self.path}: the store is closed"))

    def _next(self) -> Call[Any] | None:
        """The next call to run; ``None``: no more."""
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
        """Return the seconds until the open transaction, or a call that waits for it, times out; 0 if one just did."""
        assert scope.tx is not None
        now = time.monotonic()
        if now > scope.tx._backend.deadline:
            # So that a block which waits for something slow holds up the writers of all processes no longer.
            for step in (partial(scope.tx._backend.check_usable, writes=True), partial(self.end, scope, None)):
                with suppress(Exception):  # the thread goes on, whatever the file does
                    step()
            return 0
        late = [call for call in self._deferred if now > call.until]
        for call in late:
            self._deferred.remove(call)
            self._refuse(call, StoreBusyError(f"{self.path}: a transaction on this store is open elsewhere"))
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
        """Undo a call, unless its result has found its caller or it was undone before."""
        if call.undo is not None and call in self._unclaimed:
            result = self._unclaimed.pop(call)
            with suppress(Exception):  # there is nobody left to tell
                call.undo(result)


def on_a_thread_of_its_own(run: Callable[[], T], path: str) -> Call[T]:
    """Start a call on a thread that ends with it. The running loop is notified at its end."""
    call = Call(run, loop=asyncio.get_running_loop())

    def perform() -> None:
        call.perform()
        call.tell()

    _start(threading.Thread(target=perform, name=f"claims {path}, a long read", daemon=True), path)
    return call


def _start(thread: threading.Thread, path: str) -> None:
    try:
        thread.start()
    except Exception as error:  # at a limit of threads or processes, say
        raise StoreUnavailableError(f"{path}: no thread can be started for it: {error}") from error
