"""Limits: the capacity of each partition, and the heads of the partitions that are not full.

``claims_heads`` has the first task of each queue of a partition that is not full. A search for work reads only the
heads, and the queues of the heads that the search takes. So tasks of full partitions cost nothing. Everything is
computed from the rows of the tasks, so no slot is ever lost. An operation that changes a task with a limit calls
``touch``. Before the operation ends, ``flush`` computes the heads of the touched partitions anew.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .codes import CLAIMED_SIDE, LIMIT_NUMBER_MAX, QUEUE_MIN
from .lanes import Executor, Lanes
from .rows import Head
from .statements import sql


class Time(Protocol):
    """The store time and the wall-clock time of an operation."""

    now: int
    wall: int


class LimitedStore(Executor, Protocol):
    """The store, as the functions of this module use it."""

    @property
    def lanes(self) -> Lanes: ...

    @property
    def time(self) -> Time: ...

    def ring(self) -> None:
        """Wake waiting workers after the commit."""


class Capacity(NamedTuple):
    """How many tasks of a partition can be claimed now.

    ``opens_at``: for a full partition, the store time at which the partition may open without a write; ``None``: never.
    ``check_at``: the stored ``claims_partitions.check_at``.
    """

    free: int
    opens_at: int | None
    check_at: int | None


def is_limited(column: int) -> bool:
    """Return whether tasks with this ``claims_tasks.lane`` have a limit."""
    return bool(abs(column) & QUEUE_MIN)


def limit_of(db: Executor, column: int) -> str | None:
    """Return the ``NewTask.limit`` of the tasks with this ``claims_tasks.lane``."""
    return db.value(sql.partition_name, abs(column) % CLAIMED_SIDE) if is_limited(column) else None


def is_full(db: LimitedStore, column: int) -> bool:
    """Return whether the limit of the tasks with this ``claims_tasks.lane`` permits no further claim now."""
    return is_limited(column) and capacity(db, db.lanes.partition_of(db, column)).free == 0


def longest_wait(db: LimitedStore) -> int | None:
    """Return the longest time, in microseconds, for which a claimable task with a limit has been ready. ``None``: there
    is no such task."""
    now = db.time.now
    if not db.value(sql.is_limited):
        return None
    positions = [db.value(sql.longest_waiting_head, now)]
    for (partition,) in db.rows(sql.partitions_to_check, now, -1):
        if capacity(db, partition).free:
            positions.append(db.value(sql.longest_waiting_in, now, partition))
    due_wall = None
    for lane, due in db.rows(sql.limited_due_lanes, db.time.wall):
        if not is_full(db, lane):
            due_wall = due if due_wall is None else min(due_wall, due)
    ages = [now - position for position in positions if position is not None]
    return max([*ages, *(() if due_wall is None else (db.time.wall - due_wall,))], default=None)


class Limits:
    """The partitions with changed tasks in the open transaction."""

    def __init__(self) -> None:
        self.touched: set[int] = set()

    def forget(self) -> None:
        """Forget the touched partitions, because the changes were rolled back."""
        self.touched.clear()

    def touch(self, db: LimitedStore, column: int) -> None:
        """Note that a task with this ``claims_tasks.lane`` has changed. Do nothing if the task has no limit."""
        if abs(column) & QUEUE_MIN:
            self.touched.add(db.lanes.partition_of(db, column))

    def flush(self, db: LimitedStore) -> None:
        """Compute the heads of the touched partitions anew."""
        while self.touched:
            refresh(db, self.touched.pop())


def capacity(db: LimitedStore, partition: int) -> Capacity:
    """Return how many tasks of a partition can be claimed now."""
    rows = db.rows(sql.partition_rule, partition)
    if not rows:
        return Capacity(0, None, None)  # the partition was deleted
    check_at, concurrency, rate, period = rows[0]
    now = db.time.now
    free, opens_at = LIMIT_NUMBER_MAX, []
    if concurrency is not None:
        free = max(0, concurrency - db.value(sql.count_running, partition, now, concurrency))
        if not free:
            opens_at.append(db.value(sql.next_expiry, partition, now))
    if rate is not None:
        claims = db.rows(sql.rated_claims, partition, now - (period or 0))
        left = rate - sum(number for _, number in claims)
        free = max(0, min(free, left))
        if left <= 0:
            for claimed_at, number in claims:
                left += number
                if left > 0:
                    opens_at.append(claimed_at + (period or 0))
                    break
    return Capacity(free, None if None in opens_at else max(opens_at, default=None), check_at)  # type: ignore[type-var]


def wanted_heads(db: LimitedStore, partition: int) -> list[Head]:
    """Return the heads that the partition has while it is not full."""
    return db.rows(sql.wanted_heads, partition)


def refresh(db: LimitedStore, partition: int) -> None:
    """Compute the heads of a partition anew. Wake waiting workers if a task can be claimed earlier than before."""
    free, opens_at, check_at = capacity(db, partition)
    wanted = {head[:2]: head for head in wanted_heads(db, partition)} if free else {}
    for side, priority, next_at, _ in db.rows(sql.stored_heads, partition):
        head = wanted.get((side, priority))
        if head is None:
            db.execute(sql.drop_head, (side, priority))
        elif head.next_at == next_at:
            del wanted[side, priority]
        elif head.next_at > next_at:
            db.execute(sql.set_head, wanted.pop((side, priority)))
    if wanted:
        db.ring()
        db.executemany(sql.set_head, list(wanted.values()))
    if check_at != opens_at:
        db.execute(sql.set_check_at, (partition, opens_at))
