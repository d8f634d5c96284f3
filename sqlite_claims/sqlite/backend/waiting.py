"""The operations that wait for a change."""

from __future__ import annotations

from ...backend import Kinds, Tags
from ..doorbell import COMMITS, READY
from ..operations import claiming
from .base import SqliteStoreOperations


class SqliteStoreWaiting(SqliteStoreOperations):
    """The operations of ``StoreWaitingBackend``."""

    def any_available(self, *, tags: Tags, kinds: Kinds) -> bool:
        return self._swept(
            lambda may_sweep: self._read(claiming.any_available, tags=tags, kinds=kinds, may_sweep=may_sweep)
        )

    def ready_number(self) -> int:
        return self._db.bell.read(READY)

    def wait_ready(self, number: int, *, tags: Tags, kinds: Kinds, timeout_s: float) -> None:
        next_s = self._read(claiming.seconds_until_next, tags=tags, kinds=kinds)
        self._db.bell.wait(READY, number, min(timeout_s, next_s, claiming.SHORT_US / 1e6))

    def commit_number(self) -> int:
        return self._db.bell.read(COMMITS)

    def wait_commit(self, number: int, *, timeout_s: float) -> None:
        self._db.bell.wait(COMMITS, number, timeout_s)
