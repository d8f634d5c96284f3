"""``InMemoryClaimStore``: the public methods of a store, with the in-memory engine."""

from __future__ import annotations

from ..clock import SYSTEM_CLOCK, Clock
from ..front import Store
from .backend import MemoryBackend
from .session import InMemorySession


class InMemoryClaimStore(Store[InMemorySession]):
    """A claim store in the memory of this process, for tests of programs that use a store.

    The store behaves like ``SqliteClaimStore``, except that ``backup`` and a transaction's ``execute`` raise
    ``InvalidStateError``. Other processes can't use the store, and nothing is written to a file.

    Args:
        clock: A ``sqlite_claims.testing.ManualClock`` for tests that control the time. Default: the system's clocks.
    """

    _backend: MemoryBackend

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._backend = MemoryBackend(clock)
