"""The interface of the two scanners."""

from __future__ import annotations

from array import array
from typing import NamedTuple, Protocol

from ... import validate

AGING_US_MAX = 2**63 - 1
# The scan orders tasks by priority * weight + next_at. With aging, the weight is the aging interval. Without aging, the
# weight is this constant, which is larger than every difference of two times.
WEIGHT_WITHOUT_AGING = 1 << 64


class ScanStatements(NamedTuple):
    """The SQL statements of a scan, from ``sqlite/sql/scan.sql``."""

    head: str
    range: str
    instance_state: str


class Scanner(Protocol):
    """An object that finds the tasks that can be claimed, on one connection. Only one thread at a time may use the
    object."""

    def ready_ids(self, lanes: array[int], now: int, aging: int | None, limit: int, moving: bool) -> array[int]:
        """Return the ids of up to ``limit`` tasks in these lanes that can be claimed at ``now``, in order.

        The scan runs in the connection's open transaction, and leaves no statement unfinished. The order is exact for
        every value of ``aging``: tasks are compared without rounding and without overflow.

        Args:
            lanes: An ``array('q')`` without duplicates.
            now: Store time in microseconds.
            aging: Microseconds of waiting that count as one priority level, 1 to ``AGING_US_MAX``; ``None``: no aging.
            limit: The largest number of ids to return.
            moving: True if an instance is moving. Then tasks of instances that are not in progress are skipped.

        Raises:
            apsw.Error: SQLite failed.
            InvalidArgumentError: ``aging`` is out of bounds.
        """

    def close(self) -> None:
        """Free the scanner's statements. Call this before the connection is closed. A second call does nothing."""


def checked_aging(aging: int | None) -> int | None:
    """Return the aging interval if it is within bounds, else raise ``InvalidArgumentError``."""
    return aging if aging is None else validate.integer("aging", aging, 1, AGING_US_MAX)
