"""The operations of a ``store.transaction()``."""

from __future__ import annotations

from ..database import Database
from ..transaction import CallerTransaction
from .aging import SqliteSharedAging
from .claims import SqliteSharedClaims
from .instances import SqliteSharedInstances
from .limits import SqliteSharedLimits
from .schedules import SqliteSharedSchedules
from .tasks import SqliteSharedTasks


class SqliteTransaction(
    SqliteSharedClaims,
    SqliteSharedTasks,
    SqliteSharedInstances,
    SqliteSharedLimits,
    SqliteSharedSchedules,
    SqliteSharedAging,
):
    """The operations of a ``store.transaction()``. All operations of the object run in the same transaction."""

    def __init__(self, db: Database, transaction: CallerTransaction) -> None:
        super().__init__(db, transaction.write, transaction.read)
        self.begin = transaction.begin
        self.end = transaction.end
        self.execute = transaction.execute
        self._transaction = transaction

    @property
    def deadline(self) -> float:
        return self._transaction.deadline
