"""The operations for limits."""

from __future__ import annotations

from ...model import LimitInfo
from .. import reading
from ..records import Rule
from .base import MemoryOperations, MemoryStoreOperations


class MemorySharedLimits(MemoryOperations):
    """The operations of ``SharedLimitsBackend``."""

    def set_limit(self, name: str, *, concurrency: int | None, rate: int | None, period_us: int | None) -> None:
        with self._engine() as engine:
            engine.state.rules[name] = Rule(concurrency, rate, period_us or 0)

    def remove_limit(self, name: str) -> None:
        with self._engine() as engine:
            engine.remove_limit(name)


class MemoryStoreLimits(MemorySharedLimits, MemoryStoreOperations):
    """The operations of ``SharedLimitsBackend`` and ``StoreLimitsBackend``."""

    def list_limits(self) -> list[LimitInfo]:
        with self._engine(writes=False) as engine:
            return [reading.limit_info(engine, name) for name in sorted(engine.state.rules)]
