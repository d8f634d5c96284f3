"""The operations of an engine that set and read the aging interval."""

from __future__ import annotations

from typing import Protocol


class SharedAgingBackend(Protocol):
    """The operations for the aging interval that stores and transactions share."""

    def set_aging_interval(self, aging_us: int | None) -> None: ...


class StoreAgingBackend(Protocol):
    """The operations for the aging interval that only stores have."""

    def aging_us(self) -> int | None:
        """Return the microseconds of waiting that count as one priority level. ``None``: no aging."""
