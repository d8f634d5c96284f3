"""``InMemoryClaimStore``: the public methods on the engine in memory."""

from __future__ import annotations

from ..clock import SYSTEM_CLOCK, Clock
from ..front import Store
from .backend import MemoryBackend
from .session import InMemorySession


class InMemoryClaimStore(Store[InMemorySession]):
    """A claim store in this process's memory, for tests of programs that use one: nothing is kept, no other process
    sees it. It means the same as ``SqliteClaimStore``, except that ``backup`` and a transaction's ``execute`` are
    ``InvalidStateError``. ``clock``: where it takes its time from (``sqlite_claims.testing.ManualClock`` stands still).
    """

    _backend: MemoryBackend

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._backend = MemoryBackend(clock)
