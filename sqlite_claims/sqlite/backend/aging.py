"""The operations that set and read the aging interval."""

from __future__ import annotations

from ..operations import pruning, reading
from .base import SqliteOperations, SqliteStoreOperations


class SqliteSharedAging(SqliteOperations):
    """The operations of ``SharedAgingBackend``."""

    def set_aging_interval(self, aging_us: int | None) -> None:
        self._write(pruning.set_aging, True, aging_us)


class SqliteStoreAging(SqliteSharedAging, SqliteStoreOperations):
    """The operations of ``SharedAgingBackend`` and ``StoreAgingBackend``."""

    def aging_us(self) -> int | None:
        return self._read(reading.aging)
