"""The operations that wait for a change."""

from __future__ import annotations

from collections.abc import Sequence

from ...backend import Kinds, Tags, TaskWatch
from ...model import TaskInfo
from ..doorbell import COMMITS, READY
from ..operations import claiming, expiry, watching
from .base import Read, SqliteStoreOperations


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

    def watch_tasks(self, refs: Sequence[tuple[str, str]]) -> TaskWatch:
        return _Watch(self._read, self._read(watching.TaskWatch, refs))

    def expire_tasks(self) -> None:
        if self._db.read_only or self._db.has_transaction() or not self._read(expiry.any_due):
            return
        while self._write(expiry.sweep_step, False):
            pass

    def commit_number(self) -> int:
        return self._db.bell.read(COMMITS)

    def wait_commit(self, number: int, *, timeout_s: float) -> None:
        self._db.bell.wait(COMMITS, number, timeout_s)


class _Watch:
    """The tasks that a caller waits for. Each poll is one transaction."""

    def __init__(self, read: Read, watch: watching.TaskWatch) -> None:
        self._read = read
        self._watch = watch

    @property
    def size(self) -> int:
        return self._watch.size

    def poll(self) -> list[TaskInfo]:
        return self._read(self._watch.poll)
