"""The operations that set and read the aging interval."""

from __future__ import annotations

from .base import MemoryOperations, MemoryStoreOperations


class MemorySharedAging(MemoryOperations):
    """The operations of ``SharedAgingBackend``."""

    def set_aging_interval(self, aging_us: int | None) -> None:
        with self._engine() as engine:
            engine.state.aging = aging_us


class MemoryStoreAging(MemorySharedAging, MemoryStoreOperations):
    """The operations of ``SharedAgingBackend`` and ``StoreAgingBackend``."""

    def aging_us(self) -> int | None:
        with self._engine(writes=False) as engine:
            return engine.state.aging
