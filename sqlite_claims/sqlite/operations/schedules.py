"""Setting, removing, pausing, resuming and listing schedules, and adding the instances of due ticks.

No process is the leader: every call that looks for work adds due ticks. A call first reads the due schedules. Then the
call computes the ticks without the write lock, because a cron expression can take milliseconds. At last, in a write
transaction, the call adds the instances of each schedule that no other process has changed in between.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from ...errors import BackendError, NotFoundError, StoreCorruptError
from ...model import NewTask, RetryPolicy
from ...schedules import CatchUp, Cron, Every, ScheduleInfo, tick_name, tick_task, to_datetime, to_us
from .. import ticks
from ..codes import CATCH_UPS
from ..database import Database
from ..rows import DueTask, StoredSchedule
from ..statements import sql
from . import adding, sweep

# The number of ticks, and of schedules, that one call handles. The transaction holds the write lock for milliseconds.
TICKS_PER_CALL = 100
# If a process can't compute the ticks of a schedule, for example because the machine has no time zone data, the process
# tries again after this time.
_UNUSABLE_REST_US = 1_000_000
_LOG = logging.getLogger("sqlite_claims")


class PlannedTicks(NamedTuple):
    """The ticks of one schedule that are due. ``schedule``: the row from which the ticks were computed."""

    schedule: StoredSchedule
    task: NewTask
    look: ticks.Look


# -- set, remove, pause, resume, list


def set_schedule(
    db: Database, schedule_id: str, when: Cron | Every, task: NewTask, *, catch_up: CatchUp, definition_hash: str
) -> None:
    """Add a schedule, or replace a schedule whose definition differs."""
    wall = db.time.wall
    rows = db.rows(sql.schedule_by_name, schedule_id)
    code = CATCH_UPS.index(catch_up)
    stored = (_task_json(task), task.input, code, definition_hash)
    if rows:
        old = rows[0]
        if when == _when(old) and stored == (old.task, old.input, old.catch_up, old.definition_hash):
            return
    next_wall = None if rows and rows[0].paused else ticks.next_tick(when, wall)
    db.execute(sql.put_schedule, (schedule_id, _timing_json(when, [wall], db.time.now), *stored, next_wall, wall))
    _schedules_changed(db)


def remove_schedule(db: Database, schedule_id: str) -> None:
    """Remove a schedule. The instances of its ticks stay."""
    db.execute(sql.remove_schedule, (_by_name(db, schedule_id).id,))
    _schedules_changed(db)


def pause_schedule(db: Database, schedule_id: str) -> None:
    """Pause a schedule; do nothing if the schedule is paused."""
    db.execute(sql.pause_schedule, (_by_name(db, schedule_id).id,))
    _schedules_changed(db)


def resume_schedule(db: Database, schedule_id: str) -> None:
    """Resume a paused schedule. Its ticks count from now."""
    schedule = _by_name(db, schedule_id)
    if not schedule.paused:
        return
    wall, when = db.time.wall, _when(schedule)
    timing = _timing_json(when, [wall], db.time.now)
    db.execute(sql.move_schedule, (schedule.id, timing, ticks.next_tick(when, wall), schedule.last_wall, wall))
    _schedules_changed(db)


def list_schedules(db: Database) -> list[ScheduleInfo]:
    """Return all schedules, sorted by name."""
    return [_info(schedule) for schedule in db.rows(sql.schedules)]


def late_schedules(db: Database) -> list[tuple[str, int]]:
    """Return the names of the schedules whose tick is more than a minute late, and the microseconds."""
    wall = db.time.wall
    return [(name, wall - next_wall) for name, next_wall in db.rows(sql.late_schedules, wall - ticks.LATE_US)]


# -- ticks


def due_schedules(db: Database) -> tuple[list[StoredSchedule], int, int]:
    """Return a bounded number of schedules that have due ticks, and the times of the wall clock and of the store."""
    now, wall = db.time.now, db.time.wall
    return db.rows(sql.due_schedules, wall, wall - now + ticks.DAY_US, TICKS_PER_CALL), wall, now


def plan(db: Database, schedules: Sequence[StoredSchedule], *, wall: int, now: int) -> list[PlannedTicks]:
    """Compute the due ticks of these schedules. This function does not access the file."""
    planned = []
    limit = TICKS_PER_CALL
    for schedule in schedules:
        try:
            when, marks, seen = _timing(schedule)
            stepped_us = (wall - now) - (schedule.seen_wall - seen)
            catch_up = CATCH_UPS[schedule.catch_up]
            look = ticks.look(when, catch_up, marks, wall=wall, stepped_us=stepped_us, limit=limit)
            planned.append(PlannedTicks(schedule, _task(schedule), look))
        except BackendError as error:
            if db.ticks_rest_until == 0:
                _LOG.warning("%s: this process cannot add the ticks of schedule %r: %s", db.path, schedule.name, error)
            db.ticks_rest_until = now + _UNUSABLE_REST_US
            continue
        limit -= len(look.ticks)
        if limit <= 0:
            break
    return planned


def add_ticks(db: Database, planned: Sequence[PlannedTicks], *, wall: int, now: int) -> None:
    """Add the instances of due ticks. Skip a schedule that a different process has changed since it was read."""
    for schedule, task, look in planned:
        if db.rows(sql.schedule_by_name, schedule.name) != [schedule]:
            continue
        last_wall = schedule.last_wall
        for tick in look.ticks:
            if _add_tick(db, schedule, task, tick):
                last_wall = tick
        timing = _timing_json(_when(schedule), look.marks, now)
        db.execute(sql.move_schedule, (schedule.id, timing, look.next_wall, last_wall, wall))
    _schedules_changed(db)


def _add_tick(db: Database, schedule: StoredSchedule, task: NewTask, tick: int) -> bool:
    name = tick_name(schedule.name, tick)
    due = tick_task(task, tick)
    assert due.available_at is not None
    if not adding.add_instance(
        db, name, [due], definition_hash=schedule.definition_hash, skip_existing=True
    ):  # an instance of this name exists already, or the unique key of the task is taken
        return False
    due_wall = to_us(due.available_at)
    if due_wall <= db.time.wall:  # the position of the task is then the time of the tick, even if the tick is late
        # The lane is not needed, because adding the task has already changed the heads of its limit.
        sweep.make_due(db, [DueTask(db.value(sql.newest_task) or 0, due_wall, 0)])
    return True


def _schedules_changed(db: Database) -> None:
    db.execute(sql.set_next_tick, ())
    db.next_tick = None  # makes the next search for work read the offset again
    db.ring()


# -- rows


def _by_name(db: Database, schedule_id: str) -> StoredSchedule:
    rows = db.rows(sql.schedule_by_name, schedule_id)
    if not rows:
        raise NotFoundError(f"there is no schedule {schedule_id!r}")
    return rows[0]


def _info(schedule: StoredSchedule) -> ScheduleInfo:
    return ScheduleInfo(
        schedule_id=schedule.name,
        when=_when(schedule),
        task=_task(schedule),
        catch_up=CATCH_UPS[schedule.catch_up],
        next_at=None if schedule.next_wall is None else to_datetime(schedule.next_wall),
        last_at=None if schedule.last_wall is None else to_datetime(schedule.last_wall),
        paused=bool(schedule.paused),
    )


def _timing_json(when: Cron | Every, marks: list[int], seen: int) -> str:
    timing: dict[str, Any] = {"marks": marks, "seen": seen}
    if isinstance(when, Every):
        timing["every"] = when.interval
    else:
        timing.update(cron=when.expression, timezone=when.timezone)
    return json.dumps(timing)


def _when(schedule: StoredSchedule) -> Cron | Every:
    return _timing(schedule)[0]


def _timing(schedule: StoredSchedule) -> tuple[Cron | Every, list[int], int]:
    """Return the times of the ticks, the marks, and the store time of the latest look."""
    try:
        timing = json.loads(schedule.timing)
        marks, seen = [int(mark) for mark in timing["marks"]], int(timing["seen"])
        every = "every" in timing
        when = Every(timing["every"]) if every else Cron.unchecked(str(timing["cron"]), str(timing["timezone"]))
        if not marks:
            raise ValueError("no marks")
        return when, marks, seen
    except (ValueError, LookupError, TypeError) as error:
        raise StoreCorruptError(f"claims_schedules row {schedule.id}: timing is {schedule.timing!r}") from error


def _task_json(task: NewTask) -> str:
    """Return the fields of a task that differ from the defaults, without the input."""
    given = {
        one.name: getattr(task, one.name)
        for one in fields(NewTask)
        if one.init and one.name != "input" and getattr(task, one.name) != one.default
    }
    if "retry" in given:
        given["retry"] = {one.name: getattr(task.retry, one.name) for one in fields(RetryPolicy)}
    if "metadata" in given:
        given["metadata"] = dict(given["metadata"])
    return json.dumps(given, sort_keys=True)


def _task(schedule: StoredSchedule) -> NewTask:
    try:
        given = json.loads(schedule.task)
        if "retry" in given:
            given["retry"] = RetryPolicy(**given["retry"])
        return NewTask(input=schedule.input, **given)
    except (ValueError, LookupError, TypeError) as error:
        raise StoreCorruptError(f"claims_schedules row {schedule.id}: task is {schedule.task!r}") from error
