"""The public methods of all stores: check the arguments, then call the engine's operation of the same name.

Each method is defined only once, in the module of its subject. ``Writer`` has the methods that a store and its
transactions share.
"""

from __future__ import annotations

from typing import Generic

from ..backend import Backend, S
from ..interface import TaskClaimStore
from .aging import StoreAgingFront
from .claims import StoreClaimsFront
from .instances import StoreInstancesFront
from .limits import StoreLimitsFront
from .paging import Paged
from .schedules import StoreSchedulesFront
from .tasks import StoreTasksFront
from .transaction import OpenTransaction, Writer
from .waiting import StoreWaitingFront
from .whole import WholeStoreFront

__all__ = ["OpenTransaction", "Paged", "Store", "Writer"]


class Store(
    Writer,
    StoreClaimsFront,
    StoreTasksFront,
    StoreInstancesFront,
    StoreSchedulesFront,
    StoreLimitsFront,
    StoreWaitingFront,
    StoreAgingFront,
    WholeStoreFront[S],
    TaskClaimStore,
    Generic[S],
):
    """The methods of a store on any engine."""

    _backend: Backend[S]
