"""What the passing of time and the death of workers leave to settle. There is no sweeper: whoever looks for work does
it, a bounded number in a transaction, and as many of these as it takes to see all that could be claimed."""

from __future__ import annotations

from itertools import islice
from typing import Any

from ..codes import CALLED_OFF, CLAIMED, WAITING
from ..database import Database
from ..sessions.lock_holders import runs
from ..statements import sql
from . import control, settling

# Of each sort, settled in one transaction: a few milliseconds of the write lock.
STEP = 1000
# The wall clock drifts against store time; what is due at one instant must get one place all the same.
_DRIFT_US_MAX = 10_000
# Last claims that have expired and rows of instances in motion hide nothing. Where there are many of them not every
# look for work need settle some (2 to 3 ms): a process takes a step as often as this, and when it has found nothing.
EXHAUSTED_STEP = 200
REST_US = 10_000
# How often a process looks for sessions whose command has ended and left processes behind.
LEFT_BEHIND_EVERY_US = 1_000_000


def look(db: Database) -> tuple[Any, ...]:
    """``(aging, lanes, moving, exhausted, due)``: what a scan needs, and what time has left to settle."""
    return db.rows(sql.look, db.time.now, db.time.wall)[0]


def pending(db: Database, look: tuple[Any, ...]) -> bool:
    """Whether anything has to be settled before looking for work."""
    if look[4] or db.time.slept() or (hiding_nothing(look) and db.time.now >= db.rest_until):
        return True
    return _probe_is_due(db) and bool(dead_sessions(db))


def hiding_nothing(look: tuple[Any, ...]) -> bool:
    """Whether there is something to settle that can wait."""
    return bool(look[2] or look[3])


def _probe_is_due(db: Database) -> bool:
    return db.sessions is not None and db.time.now - db.probed_us >= db.probe_every_us


def dead_sessions(db: Database) -> list[int]:
    """Sessions whose worker is gone, a bounded number: the kernel has dropped their lock. Notes that it looked."""
    if db.sessions is None:
        return []
    rows = db.rows(sql.sessions)
    if db.time.now - db.left_behind_us >= LEFT_BEHIND_EVERY_US:
        db.left_behind_us = db.time.now
        db.left_behind = {id for id, pid in rows if db.sessions.is_left_behind(id, pid)}
    dead = list(islice((id for id, _ in rows if is_over(db, id)), STEP))
    if not dead:
        db.probed_us = db.time.now
    return dead


def is_over(db: Database, session: int) -> bool:
    """Whether nobody works in a session any more, as far as is known without reading ``/proc``."""
    sessions = db.sessions
    if sessions is None or session in db.left_behind:
        return sessions is not None
    if sessions.is_alive(session):
        return False
    if not sessions.in_place():
        db.look_soon()
        return False
    elsewhere = sessions.may_be_elsewhere(session, db.time.now)
    if elsewhere is not None:
        return not elsewhere
    rows = db.rows(sql.session_pid, session)
    return not (rows and runs(rows[0][0]))


def settle(db: Database) -> bool:
    """Settle a bounded number of whatever is pending, and say whether there is more of what could be claimed once it is
    settled. (Sleep was settled when the write lock was taken.)"""
    exhausted = db.rows(sql.exhausted, db.time.now, EXHAUSTED_STEP)
    exhausted += db.rows(sql.exhausted_in_motion, db.time.now, EXHAUSTED_STEP - len(exhausted))
    for (id,) in exhausted:
        lose(db, id)
    left = STEP
    for priority in range(1, 6):
        rows = db.rows(sql.due, priority, db.time.wall, left)
        make_due(db, rows)
        left -= len(rows)
    dead = dead_sessions(db)
    more = [left == 0, len(dead) == STEP, *(end_session(db, session) for session in dead)]
    if control.step(db) or len(exhausted) == EXHAUSTED_STEP:
        db.rest_until = db.time.now + REST_US
    return any(more)


def end_session(db: Database, session: int) -> bool:
    """Count a bounded number of a dead worker's claims as lost; forget the session once it has none. Returns whether
    there are more to count. (Those of a cancelled instance are none: they follow it in their own time.)"""
    lost = sum(lose(db, id) for (id,) in db.rows(sql.session_claims, session, STEP))
    if db.rows(sql.session_claims, session, 1):
        return lost > 0
    db.execute(sql.drop_session, (session,))
    return False


def make_due(db: Database, rows: list[tuple[Any, ...]]) -> None:
    """Give tasks whose time of day has come their place, by how long ago that was."""
    if not rows:
        return
    offset = db.time.now - db.time.wall
    stored = db.rows(sql.due_offset)[0][0]
    if abs(offset - stored) <= _DRIFT_US_MAX:
        offset = stored
    else:
        db.execute(sql.set_due_offset, (offset,))
    now = db.time.now
    db.executemany(sql.make_due, [(id, min(now, due_wall + offset)) for id, due_wall in rows])


def lose(db: Database, id: int, why: str = "") -> bool:
    """Record a claim as lost for good: the task is ready again with its place now, or fails at ``max_lost``.
    ``False``: there was no claim to lose. ``why``: the cause of the last loss, if known, for the task's error."""
    instance, instance_state, losses, max_lost, state = db.rows(sql.task_to_lose, id)[0]
    if state != CLAIMED or instance_state == CALLED_OFF:  # a cancelled instance's rows follow it by steps of their own
        return False
    if losses + 1 < max_lost:
        db.ring()
        db.execute(sql.lose, (id, db.time.now))
        return True
    message = f"lost {losses + 1} claims; max_lost is {max_lost}{why and f'; {why}'}"
    settling.fail_for_good(db, id, instance, message, failures=0, losses=1)
    return True


def settle_task(db: Database, row: tuple[Any, ...]) -> bool:
    """For ``claim_task``: settle what concerns this one task. Returns whether anything was."""
    id, session, due_wall = row[0], row[12], row[13]
    if row[3] == WAITING and row[4] is None and due_wall is not None and due_wall <= db.time.wall:
        make_due(db, [(id, due_wall)])
        return True
    if row[3] == CLAIMED and session is not None and is_over(db, session):
        lose(db, id)
        end_session(db, session)
        return True
    return False
