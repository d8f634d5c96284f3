"""Pausing, resuming and cancelling. The instance's state changes at once, and claims go by it; its rows follow in short
steps, of which whoever looks for work does one too, so that a killed caller leaves nothing half done."""

from __future__ import annotations

from array import array
from typing import Any

import apsw

from ...errors import InvalidStateError, NotFoundError
from ..codes import BROKEN, CALLED_OFF, DONE, PAUSED, RUNNING
from ..database import Database
from ..lanes import Kinds, Tags
from ..scan.scanner import WEIGHT_WITHOUT_AGING
from ..statements import sql

# Rows that change lane or state in one transaction: a millisecond or two of the write lock.
STEP = 300
# Tasks of resumed instances whose rows a look for work reads one by one (about 0.5 µs each) while they have not all
# followed. If there are more it looks into the paused side of each lane, and steps over what is still paused there.
STRAYS_MAX = 5000
# Above every name: a step that reaches the end.
_LAST = chr(0x10FFFF) * 65


def _named(db: Database, instance_id: str) -> tuple[Any, ...]:
    rows = db.rows(sql.instance_to_signal, instance_id)
    if not rows:
        raise NotFoundError(f"there is no instance {instance_id!r}")
    return rows[0]


def _begin(db: Database, moving: str | None) -> None:
    if moving is None:
        db.execute(sql.count_moving, (1,))


def pause(db: Database, instance_id: str) -> bool:
    """Pause an instance; ``False`` if it is paused already."""
    id, state, moving, _ = _named(db, instance_id)
    if state == PAUSED:
        return False
    if state != RUNNING:
        raise InvalidStateError(f"instance {instance_id!r} has ended, so it can't be paused")
    _begin(db, moving)
    db.execute(sql.set_instance_state, (id, PAUSED))
    db.lanes.opened_or_closed(db, id)
    return True


def resume(db: Database, instance_id: str) -> bool:
    """Resume an instance; ``False`` if it isn't paused."""
    id, state, moving, _ = _named(db, instance_id)
    if state == CALLED_OFF:
        raise InvalidStateError(f"instance {instance_id!r} is cancelled, so it can't be resumed")
    if state != PAUSED:
        return False
    _begin(db, moving)
    db.execute(sql.set_instance_state, (id, RUNNING))
    db.lanes.opened_or_closed(db, id)
    db.ring()
    return True


def cancel(db: Database, instance_id: str, reason: str | None) -> bool:
    """Cancel an instance; ``False`` if it is cancelled already."""
    id, state, moving, _ = _named(db, instance_id)
    if state == CALLED_OFF:
        return False
    if state in (DONE, BROKEN):
        raise InvalidStateError(f"instance {instance_id!r} has ended, so it can't be cancelled")
    _begin(db, moving)
    db.execute(sql.call_off, (id, reason, db.time.wall))
    db.lanes.opened_or_closed(db, id)
    return True


def step(db: Database) -> bool:
    """Let some rows of an instance in motion follow its state. ``False`` where nothing is in motion (any more)."""
    rows = db.rows(sql.instance_in_motion)
    if not rows:
        return False
    id, state, start, finished_wall = rows[0]
    found = db.rows(sql.end_of_step, id, start, STEP - 1)
    end = found[0][0] if found else _LAST
    if state == CALLED_OFF:
        db.execute(sql.move_to_cancelled, (id, start, end, finished_wall))
    else:
        db.execute(sql.move_out if state == PAUSED else sql.move_in, (id, start, end))
        if state != PAUSED:
            db.ring()
    db.execute(sql.moved_to, (id, end if found else None))
    if not found:
        db.execute(sql.count_moving, (-1,))
    return True


def ready_ids(db: Database, tags: Tags, kinds: Kinds, limit: int, aging: int | None) -> array[int]:
    """Ids of what a worker with these tags and kinds may claim now, in order, while some instance is in motion: rows of
    paused and cancelled ones are left out, and rows of resumed ones found although they are on the paused side yet."""
    resumed = db.rows(sql.resumed_in_motion)
    are_many = sum(total for _, total in resumed) > STRAYS_MAX
    found = db.scan(db.lanes.to_visit(db, tags, kinds, paused=are_many), limit, aging, True)
    if are_many:
        return found
    rows = [row for id, _ in resumed for row in db.rows(sql.strays, id, db.time.now)]
    strays = [row for row in rows if db.lanes.admits(row[3], tags, kinds)]
    if not strays:
        return found
    weight = WEIGHT_WITHOUT_AGING if aging is None else aging
    rows = db.rows(sql.places, apsw.carray(found)) if found else []
    places = sorted((priority * weight + next_at, id) for id, priority, next_at, _ in (*rows, *strays))
    return array("q", [id for _, id in places[:limit]])
