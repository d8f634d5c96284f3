"""The base classes of the operations. A lock guards the engine."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from ...clock import Clock
from ...errors import InvalidStateError, StoreBusyError, StoreClosedError
from ..engine import Engine
from ..session import InMemorySession

T = TypeVar("T")
K = TypeVar("K")
# The longest time that an operation waits for a different thread's transaction. The file store has the same time as its
# default.
_BUSY_TIMEOUT_S = 10.0


class MemoryOperations:
    """The base class of all operations."""

    session_type = InMemorySession

    @abstractmethod
    def _engine(self, *, writes: bool = True) -> AbstractContextManager[Engine]:
        """Yield the engine for one operation, after the engine has read the clocks."""

    def wall_us(self) -> int:
        with self._engine(writes=False) as engine:
            return engine.wall

    def check_usable(self, *, writes: bool) -> None:
        with self._engine(writes=writes):
            pass


class MemoryStoreOperations(MemoryOperations):
    """The base class of the operations that only stores have."""

    def __init__(self, clock: Clock) -> None:
        self.engine = Engine(clock)
        self.changed = threading.Condition(threading.RLock())
        # True while the thread that holds the lock has a transaction open.
        self.in_transaction = False
        self._commits = 0
        self._closed = False

    @contextmanager
    def _engine(self, *, writes: bool = True) -> Iterator[Engine]:
        if not self.changed.acquire(timeout=_BUSY_TIMEOUT_S):
            raise StoreBusyError(f"a transaction of another thread has been open for more than {_BUSY_TIMEOUT_S:g} s")
        try:
            if self._closed:
                raise StoreClosedError("the store is closed")
            if writes and self.in_transaction:
                raise InvalidStateError("this thread has a transaction open: call the method on its tx")
            self.engine.catch_up()
            yield self.engine
            if writes:
                self.notify()
        finally:
            self.changed.release()

    def notify(self) -> None:
        """Wake all waiting threads after a change."""
        self._commits += 1
        self.changed.notify_all()

    def _each(self, keys: list[K], show: Callable[[Engine, K], T | None]) -> Iterator[list[T]]:
        for key in keys:
            with self._engine(writes=False) as engine:
                record = show(engine, key)
            if record is not None:
                yield [record]
