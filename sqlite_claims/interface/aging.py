"""The Protocols of the methods that set and read the aging interval."""

from __future__ import annotations

from typing import Protocol

from ..model import Duration


class SharedAging(Protocol):
    """The methods for the aging interval that stores and transactions share."""

    def set_aging_interval(self, interval: Duration | None) -> None:
        """Set the waiting time that counts as one priority level, for all processes that use the file.

        Example: with 60 seconds, a task of priority 3 that has waited for a minute ranks equal to a new task of
        priority 2.

        Args:
            interval: Seconds (or a ``timedelta``), more than 0. ``None``: no aging.
        """


class StoreAging(Protocol):
    """The methods for the aging interval that only stores have."""

    @property
    def aging_interval(self) -> float | None:
        """Seconds of waiting that count as one priority level; ``None``: no aging. The value is stored in the file."""
