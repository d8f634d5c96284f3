"""The Protocol of a store, which is composed of the Protocols of all subjects."""

from __future__ import annotations

from typing import Protocol

from .aging import StoreAging
from .claims import StoreClaims
from .instances import StoreInstances
from .limits import StoreLimits
from .schedules import StoreSchedules
from .tasks import StoreTasks
from .transaction import ClaimWriter
from .waiting import StoreWaiting
from .whole import WholeStore


class TaskClaimStore(
    ClaimWriter,
    StoreClaims,
    StoreTasks,
    StoreInstances,
    StoreLimits,
    StoreSchedules,
    StoreWaiting,
    StoreAging,
    WholeStore,
    Protocol,
):
    """A store of tasks that workers claim. Several threads may share one store object."""


WorkerStore = TaskClaimStore
"""The type of a worker's store. A worker can use any store, because every store has sessions."""
