"""The interface between the public methods (``front``) and an engine. Each operation is one method.

An engine implements each operation as one transaction. If possible, the transaction is a single statement, or a single
function on a server. An engine reads the stored state and returns records. An engine does not check arguments, because
``front`` checks the arguments for all engines. Neighbouring arguments of the same type are keyword-only. The name of
each duration ends with the unit of the duration.
"""

from __future__ import annotations

from typing import Protocol

from .aging import StoreAgingBackend
from .claims import StoreClaimsBackend
from .instances import StoreInstancesBackend
from .limits import StoreLimitsBackend
from .schedules import StoreSchedulesBackend
from .tasks import StoreTasksBackend
from .transaction import TransactionBackend, WriterBackend
from .types import Failure, Kinds, ProgressReport, S, S_co, Steps, Tags
from .waiting import StoreWaitingBackend, TaskWatch
from .whole import LongRead, WholeStoreBackend

__all__ = [
    "Backend",
    "Failure",
    "Kinds",
    "LongRead",
    "ProgressReport",
    "S",
    "Steps",
    "Tags",
    "TaskWatch",
    "TransactionBackend",
    "WriterBackend",
]


class Backend(
    WriterBackend,
    StoreClaimsBackend,
    StoreTasksBackend,
    StoreInstancesBackend,
    StoreSchedulesBackend,
    StoreLimitsBackend,
    StoreWaitingBackend,
    StoreAgingBackend,
    WholeStoreBackend[S_co],
    Protocol[S_co],
):
    """The operations of an engine that a store uses. Several threads may share one engine.

    Lists are returned in pages. Each page is read from the file when the caller requests the page. If the store is
    closed or the instance does not exist, the call that returns the list raises the error.
    """
