"""Pausing, resuming and cancelling instances.

The instance's state changes at once, and every claim checks this state. The rows of the instance's tasks are updated
later in short steps, each in a separate transaction. Every search for work runs one of these steps. So if the caller is
killed half-way, other processes finish the update.
"""

from __future__ import annotations

from array import array

import apsw

from ...errors import InvalidStateError, NotFoundError
from ..codes import InstanceCode
from ..database import Database
from ..lanes import Kinds, Tags
from ..limits import is_limited
from ..rows import ControlledInstance, StrayTask, TaskPosition
from ..scan.scanner import WEIGHT_WITHOUT_AGING
from ..statements import sql

# The number of tasks that change lane or state in one transaction, which holds the write lock for one or two
# milliseconds.
ROWS_PER_MOVE = 300
# If the resumed instances have at most this many tasks, a search for work reads these tasks one by one (about 0.5 µs
# each) until all their rows are updated. If there are more tasks, the search scans the paused side of each lane
# instead, and skips the tasks that are still paused.
STRAYS_MAX = 5000
# A text that sorts after every task name. The last step of an update ends at this text.
_LAST_NAME = chr(0x10FFFF) * 65


def _named(db: Database, instance_id: str) -> ControlledInstance:
    rows = db.rows(sql.instance_to_control, instance_id)
    if not rows:
        raise NotFoundError(f"there is no instance {instance_id!r}", instance_id=instance_id)
    return rows[0]


def _begin_motion(db: Database, instance: ControlledInstance) -> None:
    if instance.moving is None:
        db.execute(sql.count_moving, (1,))


def pause(db: Database, instance_id: str) -> bool:
    """Pause an instance; return ``False`` if the instance is paused already."""
    instance = _named(db, instance_id)
    if instance.state == InstanceCode.PAUSED:
        return False
    if instance.state != InstanceCode.IN_PROGRESS:
        raise InvalidStateError(f"instance {instance_id!r} has ended, so it can't be paused", instance_id=instance_id)
    _begin_motion(db, instance)
    db.execute(sql.set_instance_state, (instance.id, InstanceCode.PAUSED))
    db.lanes.opened_or_closed(db, instance.id)
    return True


def resume(db: Database, instance_id: str) -> bool:
    """Resume an instance; return ``False`` if the instance isn't paused."""
    instance = _named(db, instance_id)
    if instance.state in (InstanceCode.CANCELLED, InstanceCode.ALL_CANCELLED):
        raise InvalidStateError(
            f"instance {instance_id!r} is cancelled, so it can't be resumed", instance_id=instance_id
        )
    if instance.state != InstanceCode.PAUSED:
        return False
    _begin_motion(db, instance)
    db.execute(sql.set_instance_state, (instance.id, InstanceCode.IN_PROGRESS))
    db.lanes.opened_or_closed(db, instance.id)
    db.ring()
    return True


def cancel(db: Database, instance_id: str, reason: str | None) -> bool:
    """Cancel an instance; return ``False`` if the instance is cancelled already."""
    instance = _named(db, instance_id)
    if instance.state == InstanceCode.CANCELLED:
        return False
    if instance.state == InstanceCode.ALL_CANCELLED:
        db.execute(sql.seal_instance, (instance.id, reason))
        return True
    if instance.state in (InstanceCode.COMPLETED, InstanceCode.FAILED):
        raise InvalidStateError(
            f"instance {instance_id!r} has ended, so it can't be cancelled", instance_id=instance_id
        )
    _begin_motion(db, instance)
    db.execute(sql.cancel_instance, (instance.id, reason, db.time.wall))
    if db.value(sql.is_limited):
        db.execute(sql.check_partitions_of_instance, (instance.id,))
        db.ring()
    db.lanes.opened_or_closed(db, instance.id)
    return True


def move_step(db: Database) -> bool:
    """Update the rows of some tasks of a moving instance; return ``False`` if no instance is moving."""
    rows = db.rows(sql.instance_in_motion)
    if not rows:
        return False
    id, state, after, finished_wall = rows[0]
    end_rows = db.rows(sql.end_of_step, id, after, ROWS_PER_MOVE - 1)
    end = end_rows[0][0] if end_rows else None
    last = _LAST_NAME if end is None else end
    if db.value(sql.is_limited):
        for (lane,) in db.rows(sql.limited_lanes_of_step, id, after, last):
            db.limits.touch(db, lane)
    if state == InstanceCode.CANCELLED:
        db.execute(sql.move_to_cancelled, (id, after, last, finished_wall, db.time.now))
    elif state == InstanceCode.PAUSED:
        db.execute(sql.move_out, (id, after, last))
    else:
        db.execute(sql.move_in, (id, after, last))
        db.ring()
    db.execute(sql.moved_to, (id, end))
    if end is None:
        db.execute(sql.count_moving, (-1,))
    return True


def strays(db: Database) -> list[StrayTask]:
    """Return the claimable tasks of resumed instances that are still on the paused sides of their lanes."""
    return [stray for id, _ in db.rows(sql.resumed_in_motion) for stray in db.rows(sql.strays, id, db.time.now)]


def ready_ids(db: Database, tags: Tags, kinds: Kinds, limit: int, aging: int | None) -> array[int]:
    """Return the ids of the tasks without a limit that can be claimed now, in order, while an instance is moving.

    Tasks of paused and cancelled instances are left out. Tasks of resumed instances are included, even while their rows
    are still on the paused sides of their lanes.
    """
    resumed = db.rows(sql.resumed_in_motion)
    are_many = sum(total for _, total in resumed) > STRAYS_MAX
    scanned = db.scan(db.lanes.to_visit(db, tags, kinds, paused=are_many), limit, aging, True)
    if are_many:
        return scanned
    found = [
        stray for stray in strays(db) if not is_limited(stray.lane) and db.lanes.admits(db, stray.lane, tags, kinds)
    ]
    if not found:
        return scanned
    weight = WEIGHT_WITHOUT_AGING if aging is None else aging
    others = db.rows(sql.positions, apsw.carray(scanned)) if scanned else []
    tasks = [*others, *(TaskPosition(stray.id, stray.priority, stray.next_at) for stray in found)]
    ordered = sorted((task.priority * weight + task.next_at, task.id) for task in tasks)
    return array("q", [id for _, id in ordered[:limit]])
