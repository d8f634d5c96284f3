"""Pausing, resuming and cancelling. The instance's state changes at once, and claims go by it; its rows follow in short
steps, of which whoever looks for work does one too, so that a killed caller leaves nothing half done."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidStateError, NotFoundError
from .database import Database
from .statements import sql
from .states import BROKEN, CALLED_OFF, DONE, PAUSED, RUNNING

# Rows that change lane or state in one transaction: a millisecond or two of the write lock.
STEP = 300
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
