"""The operations that concern the store as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from ...errors import InvalidStateError
from ...model import StoreStats, WorkerInfo
from .. import reading
from ..session import InMemorySession
from .base import MemoryStoreOperations
from .transaction import MemoryTransaction

T = TypeVar("T")


class MemoryWholeStore(MemoryStoreOperations):
    """The operations of ``WholeStoreBackend``."""

    def stats(self) -> StoreStats:
        with self._engine(writes=False) as engine:
            return reading.stats(engine)

    def list_workers(self) -> Iterator[list[WorkerInfo]]:
        with self._engine(writes=False) as engine:
            return iter([[reading.worker_info(engine, session) for session in engine.state.sessions.values()]])

    def open_session(self, worker_id: str) -> InMemorySession:
        with self._engine() as engine:
            id = engine.open_session(worker_id).id
        return InMemorySession(
            id, worker_id, is_known=lambda id: id in self.engine.state.sessions, end=self._end_session
        )

    def _end_session(self, id: int, *, is_noticed: bool) -> None:
        with self.changed:
            if self._closed:
                return
            self.engine.catch_up()
            if is_noticed:
                self.engine.close_session(id)
            else:
                self.engine.dead_sessions.add(id)
            self.notify()

    def transaction(self, timeout_s: float) -> MemoryTransaction:
        return MemoryTransaction(self, timeout_s)

    def backup(self, path: str) -> _Done[None]:  # noqa: ARG002 - the interface's
        self.check_usable(writes=False)
        raise InvalidStateError("a store in memory has no file to copy")

    def check(self) -> _Done[list[str]]:
        with self._engine(writes=False) as engine:
            return _Done(engine.state.damage())

    def close(self) -> None:
        with self.changed:
            if self.in_transaction:
                raise InvalidStateError("a transaction is open: leave its with block first")
            self._closed = True
            self.changed.notify_all()


class _Done(Generic[T]):
    """A ``LongRead`` that needs no steps, because its result exists already."""

    path = "memory"

    def __init__(self, result: T) -> None:
        self._result = result

    def run(self) -> T:
        return self._result

    def stop(self, *, wait: bool) -> None:
        pass
