"""What a scan is, whichever of the two does it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Protocol

from ... import validate

AGING_US_MAX = 2**63 - 1
# A task's position in the order is priority * weight + next_at. The weight is the aging interval, or else this, which
# no time outweighs.
WEIGHT_WITHOUT_AGING = 1 << 64


@dataclass(frozen=True, slots=True)
class ScanStatements:
    """The SQL of a scan: ``sqlite/sql/scan.sql`` tells what each of them gives."""

    head: str
    range: str
    instance_state: str


class Scanner(Protocol):
    """Finds what may be claimed, on one connection. One thread at a time may use it."""

    def ready_ids(self, lanes: array[int], now: int, aging: int | None, limit: int, moving: bool) -> array[int]:
        """Ids of up to ``limit`` tasks in these lanes that may be claimed at ``now``, in their exact order.

        ``lanes``: an ``array('q')`` that names each lane once. ``now``: store time in microseconds. ``aging``:
        microseconds of waiting worth one priority level, 1 to ``AGING_US_MAX``, or ``None``: places are compared
        without rounding and without overflow over that whole range. ``moving``: whether some instance's rows don't
        all follow its state yet; then the rows of instances that are not in progress are skipped.

        Runs in the transaction that the connection has open, and leaves no statement unfinished. Raises ``apsw``'s
        exceptions, and ``InvalidArgumentError`` for an ``aging`` out of bounds.
        """

    def close(self) -> None:
        """Let go of the connection. To be called before the connection is closed; may be called twice."""


def checked_aging(aging: int | None) -> int | None:
    """The aging interval, if it is one."""
    return aging if aging is None else validate.integer("aging", aging, 1, AGING_US_MAX)
