"""Finding, claiming, giving back and prolonging: operations of one transaction, called with checked arguments."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable
from typing import Any

import apsw

from ...errors import ClaimLostError, NotFoundError
from ...model import AvailableTask, ClaimedTask, TaskClaim, make_available, make_claim, make_claimed
from ...validate import name
from ..codes import CALLED_OFF, CLAIMED, PAUSED, RUNNING, WAITING
from ..database import Database
from ..lanes import Kinds, Tags
from ..statements import sql
from . import control, sweep

# Who sleeps for work looks again after this at the latest, which is also how soon the dead are noticed.
SHORT_US = 500_000


def find(
    db: Database, worker_id: str, limit: int, tags: Tags, kinds: Kinds, look: tuple[Any, ...]
) -> list[tuple[Any, ...]]:
    """Rows of ``tasks_found``: what may be claimed, in order; what last failed on this worker stands at the end."""
    aging, lanes, moving, *_ = look
    db.lanes.refresh(db, lanes)
    if moving or db.lanes.are_many:
        ids = _many_ready_ids(db, tags, kinds, limit, aging, moving)
    else:
        ids = db.scan(db.lanes.select(tags, kinds), limit, aging, False)
    if not ids:
        return []
    if len(ids) == 1:
        return db.rows(sql.task_found, ids[0])
    rows = db.rows(sql.tasks_found, apsw.carray(ids))
    if any(row[8] == worker_id for row in rows):
        rows.sort(key=lambda row: row[8] == worker_id)
    return rows


def _many_ready_ids(db: Database, tags: Tags, kinds: Kinds, limit: int, aging: int | None, moving: int) -> array[int]:
    """Ids of what may be claimed, in order; also where there are many lanes, or rows of instances in motion."""
    if moving:
        return control.ready_ids(db, tags, kinds, limit, aging)
    return db.scan(db.lanes.to_visit(db, tags, kinds, paused=False), limit, aging, False)


def available(db: Database, row: tuple[Any, ...]) -> AvailableTask:
    """What a worker gets to see of a row of ``tasks_found``."""
    _, instance_id, task_id, data, definition_hash, lane, priority, attempts, _, _ = row
    kind, tags = db.lanes.of(db, lane)
    return make_available(instance_id, task_id, data or b"", definition_hash, kind, priority, tags, attempts + 1)


def find_available(
    db: Database, worker_id: str, limit: int, tags: Tags, kinds: Kinds, settle: bool
) -> list[AvailableTask] | None:
    """A page of what this worker could claim, or ``None`` where something has to be settled (and may be) first."""
    look = sweep.look(db)
    if settle and sweep.pending(db, look):
        return None
    rows = find(db, worker_id, limit, tags, kinds, look)
    if not rows and settle and sweep.hiding_nothing(look):
        return None
    return [available(db, row) for row in rows]


def any_available(db: Database, tags: Tags, kinds: Kinds, settle: bool) -> bool | None:
    """Whether there is anything that these admit, or ``None`` where something has to be settled (and may be) first."""
    look = sweep.look(db)
    if settle and sweep.pending(db, look):
        return None
    db.lanes.refresh(db, look[1])
    found = bool(_many_ready_ids(db, tags, kinds, 1, look[0], look[2]))
    return None if not found and settle and sweep.hiding_nothing(look) else found


def next_up(db: Database, tags: Tags, kinds: Kinds) -> float:
    """Seconds until a task that these admit comes up by time alone, as far as is known now; ``inf``: none."""
    db.lanes.refresh(db, db.rows(sql.lanes_version)[0][0])
    lanes = db.lanes.to_visit(db, tags, kinds, paused=False)
    if not lanes:
        return math.inf
    up = db.rows(sql.next_up, apsw.carray(lanes), db.time.now)[0][0]
    due = db.rows(sql.next_due)[0][0]
    spans = [math.inf if up is None else up - db.time.now, math.inf if due is None else due - db.time.wall]
    return max(0, min(spans)) / 1e6


def _tell_of_short(db: Database, ttl: int | None) -> None:
    """A claim that ends before a sleeper would look again by itself is something to know about."""
    if ttl is not None and ttl < SHORT_US:
        db.ring()


def claim_available(
    db: Database, worker_id: str, limit: int, ttl: int | None, tags: Tags, kinds: Kinds, session: int | None
) -> list[ClaimedTask] | None:
    """Find and claim. ``None``: something was settled, and there is more to settle first."""
    look = sweep.look(db)
    rows = None if sweep.pending(db, look) else find(db, worker_id, limit, tags, kinds, look)
    if rows is None or (not rows and sweep.hiding_nothing(look)):
        if sweep.settle(db):
            return None
        rows = find(db, worker_id, limit, tags, kinds, sweep.look(db))
    if not rows:
        return []
    now, wall, floor = db.time.now, db.time.wall, db.time.token_floor
    lease = None if ttl is None else now + ttl
    expires = None if ttl is None else wall + ttl
    if ttl is not None and ttl < SHORT_US:
        db.ring()
    if len(rows) == 1:
        db.execute(sql.claim_one, (rows[0][0], floor, lease, worker_id, session, wall, expires))
    else:
        ids = apsw.carray(array("q", [row[0] for row in rows]))
        db.execute(sql.claim_many, (ids, floor, lease, worker_id, session, wall, expires))
    make = claim_maker(db, worker_id, wall, ttl)
    claimed = []
    for row in rows:
        token = row[9] + 1 if row[9] > floor else floor + 1
        claimed.append(make_claimed(available(db, row), make(row[1], row[2], token, row[0])))
    return claimed


def claim_maker(db: Database, worker_id: str, wall: int, ttl: int | None) -> Callable[[str, str, int, int], TaskClaim]:
    """For claims made at one moment: gives them for instance id, task id, token and row."""
    claimed_at = wall / 1e6
    clock = db.time.clock
    expires_at = None if ttl is None else (wall + ttl) / 1e6
    ends = None if ttl is None else db.time.awake(db.time.now + ttl)
    return lambda instance_id, task_id, token, row: make_claim(
        instance_id, task_id, worker_id, claimed_at, expires_at, token, ends, clock, row
    )


def _by_name(db: Database, instance_id: str, task_id: str) -> tuple[Any, ...]:
    rows = db.rows(sql.task_by_name, instance_id, task_id)
    if not rows:
        raise NotFoundError(f"there is no task {task_id!r} in an instance {instance_id!r}")
    return rows[0]


def claim_task(
    db: Database, instance_id: str, task_id: str, worker_id: str, ttl: int | None, session: int | None
) -> TaskClaim | None:
    """Claim one task by name."""
    row = _by_name(db, instance_id, task_id)
    if row[2] in (RUNNING, PAUSED) and sweep.settle_task(db, row):
        row = _by_name(db, instance_id, task_id)
    id, _, instance_state, state, next_at, _, lease_expires, token, _, losses, max_lost, *_ = row
    now, wall = db.time.now, db.time.wall
    if instance_state != RUNNING:
        return None
    if state == CLAIMED:
        if lease_expires is None or lease_expires > now:
            return None
        if losses + 1 >= max_lost:
            sweep.lose(db, id)
            return None
    elif state != WAITING or next_at is None or next_at > now:
        return None
    lease = None if ttl is None else now + ttl
    expires = None if ttl is None else wall + ttl
    floor = db.time.token_floor
    db.execute(sql.claim_one, (id, floor, lease, worker_id, session, wall, expires))
    _tell_of_short(db, ttl)
    return claim_maker(db, worker_id, wall, ttl)(instance_id, task_id, max(token, floor) + 1, id)


def _held_by(db: Database, instance_id: str, task_id: str, worker_id: str) -> tuple[Any, ...]:
    rows = db.rows(sql.task_by_name, instance_id, task_id)
    if not rows or rows[0][3] != CLAIMED or rows[0][2] == CALLED_OFF:
        raise NotFoundError(f"nobody holds a claim on task {task_id!r} of instance {instance_id!r}")
    if rows[0][11] != worker_id:
        raise ClaimLostError(
            f"task {task_id!r} of instance {instance_id!r} is held by {rows[0][11]!r}, not by {worker_id!r}"
        )
    return rows[0]


def release_by_worker(db: Database, instance_id: str, task_id: str, worker_id: str) -> None:
    """Give a task back, by the worker's name."""
    db.ring()
    db.execute(sql.release, (_held_by(db, instance_id, task_id, worker_id)[0], None))


def extend_by_worker(
    db: Database, instance_id: str, task_id: str, worker_id: str, additional: int, wall_max: int
) -> bool:
    """Add to the expiry. ``False`` where that would be no date any more."""
    row = _held_by(db, instance_id, task_id, worker_id)
    id, lease_expires, expires = row[0], row[6], row[15]
    if lease_expires is None:
        return True
    if expires + additional > wall_max:
        return False
    db.execute(sql.set_expiry, (id, lease_expires + additional, expires + additional))
    return True


def held_rows(db: Database, claims: Iterable[TaskClaim]) -> list[tuple[Any, ...] | None]:
    """For each claim its row of ``claim_by_row``, or ``None`` where it is no longer the task's.

    The claim's hint saves a look-up by name; whatever it says, the names and the token decide.
    """
    claims = list(claims)
    by_id: dict[int, tuple[Any, ...]] = {}
    if claims:
        hints = apsw.carray(array("q", [claim._row for claim in claims]))
        by_id = {row[0]: row for row in db.rows(sql.claims_by_row, hints)}
    return [_checked(db, claim, by_id.get(claim._row)) for claim in claims]


def _checked(db: Database, claim: TaskClaim, row: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if row is None or row[1] != claim.instance_id or row[2] != claim.task_id:
        # Made by hand, or of another file: nothing about it has been checked yet.
        names = name("claim.instance_id", claim.instance_id), name("claim.task_id", claim.task_id)
        found = db.rows(sql.claim_by_name, *names)
        row = found[0] if found else None
    if row is None or row[3] != claim.token or row[4] != CLAIMED or row[5] == CALLED_OFF:
        return None
    return row


def held_row(db: Database, claim: TaskClaim) -> tuple[Any, ...]:
    """The claim's row of ``claim_by_row``; ``ClaimLostError`` where it is no longer the task's."""
    found = db.rows(sql.claim_by_row, claim._row)
    row = _checked(db, claim, found[0] if found else None)
    if row is None:
        raise ClaimLostError(
            f"the claim of {claim.worker_id!r} on task {claim.task_id!r} of instance {claim.instance_id!r} "
            f"(token {claim.token}) was settled, taken over or cancelled"
        )
    return row


def renew(db: Database, claim: TaskClaim, ttl: int | None, row: tuple[Any, ...]) -> TaskClaim:
    """Set the expiry to now + ``ttl``."""
    _tell_of_short(db, ttl)
    now, wall = db.time.now, db.time.wall
    db.execute(sql.set_expiry, (row[0], None if ttl is None else now + ttl, None if ttl is None else wall + ttl))
    ends = None if ttl is None else db.time.awake(now + ttl)
    expires_at = None if ttl is None else (wall + ttl) / 1e6
    return TaskClaim(
        claim.instance_id, claim.task_id, row[11], row[12] / 1e6, expires_at, claim.token, ends, db.time.clock, row[0]
    )


def release(db: Database, id: int, delay: int | None) -> None:
    """Give a task back: to its old place, or to one ``delay`` from now."""
    db.ring()
    db.execute(sql.release, (id, None if delay is None else db.time.now + delay))
