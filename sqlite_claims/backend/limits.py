"""The operations of an engine for limits."""

from __future__ import annotations

from typing import Protocol

from ..model import LimitInfo


class SharedLimitsBackend(Protocol):
    """The operations for limits that stores and transactions share."""

    def set_limit(self, name: str, *, concurrency: int | None, rate: int | None, period_us: int | None) -> None:
        """Set a limit. ``rate`` and ``period_us`` are both ``None`` or both given."""

    def remove_limit(self, name: str) -> None: ...


class StoreLimitsBackend(Protocol):
    """The operations for limits that only stores have."""

    def list_limits(self) -> list[LimitInfo]: ...
