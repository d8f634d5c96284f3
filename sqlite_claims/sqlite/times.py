"""Conversion of wall-clock times in the file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wall_us(at: datetime) -> int:
    """Return an aware ``datetime`` as a wall-clock time."""
    return (at - EPOCH) // timedelta(microseconds=1)


def moment(wall_us: int) -> datetime:
    """Return a wall-clock time as an aware ``datetime`` in UTC, exact to the microsecond."""
    return EPOCH + timedelta(microseconds=wall_us)


def moment_or_none(wall_us: int | None) -> datetime | None:
    """Return a wall-clock time as an aware ``datetime`` in UTC; ``None`` for no time."""
    return None if wall_us is None else moment(wall_us)
