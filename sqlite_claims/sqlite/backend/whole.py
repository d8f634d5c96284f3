"""The operations that concern the store as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ...errors import BackendError, InvalidStateError, StoreBusyError
from ...model import StoreStats, WorkerInfo
from ..maintenance import checking
from ..maintenance.backup import backup
from ..maintenance.long_read import LongRead
from ..operations import reading, sessions
from ..sessions.owned_locks import SqliteWorkerSession
from ..transaction import CallerTransaction
from .base import SqliteStoreOperations
from .transaction import SqliteTransaction


class SqliteWholeStore(SqliteStoreOperations):
    """The operations of ``WholeStoreBackend``."""

    def stats(self) -> StoreStats:
        return self._read(reading.stats)

    def list_workers(self) -> Iterator[list[WorkerInfo]]:
        return iter([self._read(reading.workers)])

    def open_session(self, worker_id: str) -> SqliteWorkerSession:
        return sessions.open_session(self._db, worker_id, self._end_session)

    def _end_session(self, session: SqliteWorkerSession) -> None:
        if session in self._db.local_sessions:
            self._db.local_sessions.remove(session)
        # If this write fails, the next search for work finds the session's lock free, and removes the session.
        with contextlib.suppress(BackendError):
            self._write(sessions.close_session, False, session.id)

    def transaction(self, timeout_s: float) -> SqliteTransaction:
        return SqliteTransaction(self._db, CallerTransaction(self._db, timeout_s))

    def backup(self, path: str) -> LongRead[None]:
        return backup(self._db, path)

    def check(self) -> LongRead[list[str]]:
        with contextlib.suppress(StoreBusyError):  # if another thread has a transaction open, skip this check
            self._db.check_files()
        self._db.refuse_old_schema()
        return checking.check(self._db, self._db.checkpoint_findings())

    def close(self) -> None:
        if self._db.has_transaction():
            raise InvalidStateError("a transaction is open: leave its with block first")
        self._db.close()
