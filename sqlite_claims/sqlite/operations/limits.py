"""The operations on limits, and the slots that claims take. Each function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import NotFoundError
from ...model import LimitInfo
from ..database import Database
from ..limits import is_limited
from ..statements import sql
from . import attempts, sweep


def set_limit(db: Database, name: str, *, concurrency: int | None, rate: int | None, period_us: int | None) -> None:
    """Set a limit. The next sweep computes the heads of the limit's partitions anew."""
    db.execute(sql.set_limit, (name, concurrency, rate, period_us))
    db.execute(sql.check_partitions_of_rule, (name,))
    db.ring()


def remove_limit(db: Database, name: str) -> None:
    """Remove a limit. The next sweep computes the heads of the limit's partitions anew."""
    if not db.rows(sql.drop_limit, name):
        raise NotFoundError(f"there is no limit {name!r}")
    db.execute(sql.drop_rated_of_rule, (name,))
    db.execute(sql.check_partitions_of_rule, (name,))
    db.ring()


def list_limits(db: Database) -> list[LimitInfo]:
    """Return the records of all limits."""
    infos = []
    for row in db.rows(sql.limits):
        running, waiting, partitions = db.rows(sql.limit_counts, row.name, db.time.now)[0]
        waiting += db.value(sql.limited_due, row.name, db.time.wall)
        rate = None if row.rate is None else (row.rate, (row.period or 0) / 1e6)
        infos.append(LimitInfo(row.name, row.concurrency, rate, running, waiting, partitions))
    return infos


def take_slots(db: Database, chosen: Sequence[tuple[int, int]]) -> None:
    """Take a slot for each of these tasks, which the caller claims next. If too few slots are free, expired claims of
    other tasks become losses. ``chosen``: the id and the lane of each task; tasks without a limit are ignored."""
    by_partition: dict[int, set[int]] = {}
    for id, lane in chosen:
        if is_limited(lane):
            by_partition.setdefault(db.lanes.partition_of(db, lane), set()).add(id)
            db.limits.touch(db, lane)
    now = db.time.now
    for partition, ids in by_partition.items():
        _, concurrency, rate, period = db.rows(sql.partition_rule, partition)[0]
        if concurrency is not None:
            expired = [task for task in db.rows(sql.expired_of_partition, partition, now) if task[0] not in ids]
            running = db.value(sql.count_running, partition, now, concurrency) if expired else 0
            for id, lease_expires in expired[: max(0, running + len(expired) + len(ids) - concurrency)]:
                sweep.record_loss(db, id, attempts.EXPIRED, position=lease_expires)
        if rate is not None:
            db.execute(sql.drop_rated, (partition, now - (period or 0)))
            db.execute(sql.add_rated, (partition, now, len(ids)))


def note_renewal(db: Database, id: int, lane: int, lease: int | None) -> None:
    """Note that a claim on a task with a limit gets a new expiry, ``lease``. Call this before the expiry is stored.

    A later expiry of a live claim needs no action, because a head and ``check_at`` may be earlier than necessary.
    """
    before = db.value(sql.lease_of, id)
    if before is None or before <= db.time.now or (lease is not None and lease < before):
        db.limits.touch(db, lane)
