"""The operations of ``Backend`` in memory."""

from .aging import MemoryStoreAging
from .claims import MemoryStoreClaims
from .instances import MemoryStoreInstances
from .limits import MemoryStoreLimits
from .schedules import MemoryStoreSchedules
from .tasks import MemoryStoreTasks
from .waiting import MemoryStoreWaiting
from .whole import MemoryWholeStore

__all__ = ["MemoryBackend"]


class MemoryBackend(
    MemoryStoreClaims,
    MemoryStoreTasks,
    MemoryStoreInstances,
    MemoryStoreSchedules,
    MemoryStoreLimits,
    MemoryStoreWaiting,
    MemoryStoreAging,
    MemoryWholeStore,
):
    """The operations of a store."""
