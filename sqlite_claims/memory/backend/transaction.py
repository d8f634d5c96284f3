"""The operations of a transaction. A rollback restores a snapshot."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...errors import InvalidStateError, StoreBusyError
from ..engine import Engine
from .aging import MemorySharedAging
from .base import MemoryStoreOperations
from .claims import MemorySharedClaims
from .instances import MemorySharedInstances
from .limits import MemorySharedLimits
from .schedules import MemorySharedSchedules
from .tasks import MemorySharedTasks


class MemoryTransaction(
    MemorySharedClaims,
    MemorySharedTasks,
    MemorySharedInstances,
    MemorySharedLimits,
    MemorySharedSchedules,
    MemorySharedAging,
):
    """A transaction, which holds the store's lock until its end. A rollback restores the state at its begin."""

    def __init__(self, store: MemoryStoreOperations, timeout_s: float) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._thread = 0
        self.deadline = 0.0
        self._is_open = False
        self._is_late = False

    def begin(self) -> None:
        if self._thread:
            raise InvalidStateError("a transaction can be entered only once")
        store = self._store
        self.deadline = time.monotonic() + self._timeout_s
        if not store.changed.acquire(timeout=min(self._timeout_s, threading.TIMEOUT_MAX)):
            raise StoreBusyError(f"another thread has used the store for more than {self._timeout_s:g} s")
        try:
            store.check_usable(writes=True)
            self._before = store.engine.state.copy()
        except BaseException:
            store.changed.release()
            raise
        store.in_transaction = self._is_open = True
        self._thread = threading.get_ident()

    def end(self, *, commit: bool) -> None:
        try:
            if commit:
                self._check()
        finally:
            if threading.get_ident() == self._thread:
                self._finish(commit=commit)

    def __del__(self) -> None:
        if threading.get_ident() == self._thread:
            self._finish(commit=False)

    def _finish(self, *, commit: bool) -> None:
        if self._is_open:
            self._is_open = self._store.in_transaction = False
            if not commit:
                self._store.engine.state = self._before
            self._store.notify()
            self._store.changed.release()

    def _check(self) -> None:
        if threading.get_ident() != self._thread:
            raise InvalidStateError("only the thread that entered a transaction can use it")
        if self._is_open and time.monotonic() > self.deadline:
            self._is_late = True
            self._finish(commit=False)
        if self._is_late:
            raise StoreBusyError(f"held the store for more than {self._timeout_s:g} s, so it was rolled back")
        if not self._is_open:
            raise InvalidStateError("the transaction has ended")

    @contextmanager
    def _engine(self, *, writes: bool = True) -> Iterator[Engine]:  # noqa: ARG002 - reads and writes are alike here
        self._check()
        self._store.engine.catch_up()
        yield self._store.engine

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:  # noqa: ARG002
        self._check()
        raise InvalidStateError("a store in memory has no SQL; use SqliteClaimStore")
