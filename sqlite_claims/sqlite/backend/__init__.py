"""The engine on SQLite: the operations of ``Backend``, each of which runs in one transaction of a ``Database``."""

from .aging import SqliteStoreAging
from .claims import SqliteStoreClaims
from .instances import SqliteStoreInstances
from .limits import SqliteStoreLimits
from .schedules import SqliteStoreSchedules
from .tasks import SqliteStoreTasks
from .transaction import SqliteTransaction
from .waiting import SqliteStoreWaiting
from .whole import SqliteWholeStore

__all__ = ["SqliteBackend", "SqliteTransaction"]


class SqliteBackend(
    SqliteStoreClaims,
    SqliteStoreTasks,
    SqliteStoreInstances,
    SqliteStoreSchedules,
    SqliteStoreLimits,
    SqliteStoreWaiting,
    SqliteStoreAging,
    SqliteWholeStore,
):
    """The operations of a store on one file."""
