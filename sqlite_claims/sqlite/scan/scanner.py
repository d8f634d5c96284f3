"""The interface of the two scanners."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Protocol

from ... import validate

AGING_US_MAX = 2**63 - 1
# A task's position in the order is priority * weight + next_at. The weight is the aging interval; without aging it is
# this, which no time outweighs.
WEIGHT_WITHOUT_AGING = 1 << 64


@dataclass(frozen=True, slots=True)
class ScanStatements:
    """The SQL of a scan, from ``sqlite/sql/scan.sql``."""

    head: str
    range: str
    instance_state: str


class Scanner(Protocol):
    """Finds the tasks that can be claimed, on one connection. One thread at a time may use it."""

    def ready_ids(self, lanes: array[int], now: int, aging: int | None, limit: int, moving: bool) -> array[int]:
        """Return the ids of up to ``limit`` tasks in these lanes that can be claimed at ``now``, in their exact order.

        Runs in the transaction that the connection has open, and leaves no statement unfinished. Positions are compared
        without rounding and without overflow, whatever ``aging`` is.

        Args:
            lanes: An ``array('q')`` without duplicates.
            now: Store time in microseconds.
            aging: Microseconds of waiting worth one priority level, 1 to ``AGING_US_MAX``; ``None``: no aging.
            limit: The number of ids to return at most.
            moving: Whether an instance is in motion. Then tasks of instances that are not in progress are skipped.

        Raises:
            apsw.Error: SQLite failed.
            InvalidArgumentError: ``aging`` is out of bounds.
        """

    def close(self) -> None:
        """Release the connection. Call this before the connection is closed; may be called twice."""


def checked_aging(aging: int | None) -> int | None:
    """Return the aging interval if it is within bounds, else raise ``InvalidArgumentError``."""
    return aging if aging is None else validate.integer("aging", aging, 1, AGING_US_MAX)
