"""Retrying a failed task, and restoring its dependents."""

from __future__ import annotations

from ...errors import InvalidStateError, NotFoundError
from ..codes import InstanceCode, TaskCode
from ..database import Database
from ..statements import sql
from . import expiry, unique_keys


def retry_task(db: Database, *, instance_id: str, task_id: str) -> None:
    """Restart a failed task, and restore the tasks that were cancelled because this task failed."""
    rows = db.rows(sql.task_and_instance, instance_id, task_id)
    if not rows:
        raise NotFoundError(
            f"there is no task {task_id!r} in instance {instance_id!r}", instance_id=instance_id, task_id=task_id
        )
    task = rows[0]
    if task.instance_state == InstanceCode.CANCELLED:
        raise InvalidStateError(f"instance {instance_id!r} is cancelled", instance_id=instance_id)
    if task.state != TaskCode.FAILED:
        raise InvalidStateError(
            f"task {task_id!r} of instance {instance_id!r} has not failed", instance_id=instance_id, task_id=task_id
        )
    paused = task.instance_state == InstanceCode.PAUSED
    db.ring()
    db.limits.touch(db, task.lane)
    db.execute(sql.retry, (task.id, db.time.now, paused))
    db.execute(sql.drop_error, (task.id,))
    db.execute(sql.drop_checkpoint, (task.id,))
    db.execute(sql.drop_progress, (task.id,))
    reopened = [task.id]
    for id in reopened:
        for (dependent,) in db.rows(sql.restorable, id):
            db.execute(sql.restore_dependent, (dependent, paused))
            reopened.append(dependent)
    db.execute(sql.reopen_instance, (task.instance, 1, len(reopened) - 1))
    db.lanes.opened_or_closed(db, task.instance)
    # An expiry that has been reached may cancel a task of the same instance here, so the counts must be right before.
    for id in reopened:
        unique_keys.take_again(db, id)
    for id in reopened[1:]:
        expiry.restore(db, id)
