"""The operations of an engine that concern the store as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ..model import StoreStats, WorkerInfo
from .transaction import TransactionBackend
from .types import S_co, T_co


class LongRead(Protocol[T_co]):
    """A read of the whole store. Other operations do not wait for this read."""

    @property
    def path(self) -> str:
        """The path of the store's file, which is part of the reading thread's name."""

    def run(self) -> T_co:
        """Read the store in the calling thread."""

    def stop(self, *, wait: bool) -> None:
        """End the read. Any thread may call this method. After the call, ``run`` raises an error."""


class WholeStoreBackend(Protocol[S_co]):
    """The operations that concern the store as a whole."""

    def stats(self) -> StoreStats: ...

    def list_workers(self) -> Iterator[list[WorkerInfo]]: ...

    def open_session(self, worker_id: str) -> S_co: ...

    def transaction(self, timeout_s: float) -> TransactionBackend:
        """Return a transaction that has not begun. In total, it may wait for and hold the writer for
        ``timeout_s`` seconds."""

    def backup(self, path: str) -> LongRead[None]: ...

    def check(self) -> LongRead[list[str]]: ...

    def close(self) -> None: ...
