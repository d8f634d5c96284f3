"""The operations for limits."""

from __future__ import annotations

from ...model import LimitInfo
from ..operations import limits
from .base import SqliteOperations, SqliteStoreOperations


class SqliteSharedLimits(SqliteOperations):
    """The operations of ``SharedLimitsBackend``."""

    def set_limit(self, name: str, *, concurrency: int | None, rate: int | None, period_us: int | None) -> None:
        self._write(limits.set_limit, True, name, concurrency=concurrency, rate=rate, period_us=period_us)

    def remove_limit(self, name: str) -> None:
        self._write(limits.remove_limit, True, name)


class SqliteStoreLimits(SqliteSharedLimits, SqliteStoreOperations):
    """The operations of ``SharedLimitsBackend`` and ``StoreLimitsBackend``."""

    def list_limits(self) -> list[LimitInfo]:
        return self._read(limits.list_limits)
