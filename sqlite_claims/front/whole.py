"""The public methods that concern the store as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Self

from .. import validate
from ..backend import Backend, LongRead, S
from ..interface.whole import WholeStore
from ..model import Duration, StoreStats, WorkerInfo
from .paging import Paged
from .transaction import OpenTransaction


class WholeStoreFront(WholeStore, Generic[S]):
    """The methods of ``WholeStore``."""

    _backend: Backend[S]

    def stats(self) -> StoreStats:
        return self._backend.stats()

    def list_workers(self) -> Iterator[WorkerInfo]:
        return Paged(self._backend.list_workers())

    def open_session(self, worker_id: str) -> S:
        return self._backend.open_session(validate.name("worker_id", worker_id))

    def transaction(self, timeout: Duration = 5.0) -> OpenTransaction:
        return OpenTransaction(self._backend.transaction(validate.duration_us("timeout", timeout) / 1e6))

    def backup(self, path: str | os.PathLike[str]) -> None:
        self._backup(path).run()

    def _backup(self, path: str | os.PathLike[str]) -> LongRead[None]:
        return self._backend.backup(validate.store_path(path))

    def check(self) -> list[str]:
        return self._check().run()

    def _check(self) -> LongRead[list[str]]:
        return self._backend.check()

    def close(self) -> None:
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
