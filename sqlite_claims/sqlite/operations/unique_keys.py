"""Unique keys: at most one open task of the store has the same key.

A row of claims_keys names the task that was the latest to take the key. The key is free again if this task has ended.
Only the calls that take a key check this, so the end of a task needs no additional statement.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import AlreadyExistsError
from ...graph import unknown_dependency
from ...model import NewTask, TaskRef
from ...task_batch import TaskBatch
from ..database import Database
from ..rows import KeyBearer
from ..statements import sql
from . import expiry


def bearer(db: Database, key: str) -> KeyBearer | None:
    """Return the open task that has this key. If this task has expired, cancel the task, and return ``None``."""
    rows = db.rows(sql.key_bearer, key)
    if not rows:
        return None
    if expiry.is_due(db, rows[0].expiring):
        expiry.expire(db, rows[0].id)
        return None
    return rows[0]


def without_taken(db: Database, instance_id: str, tasks: Sequence[NewTask], *, skip_taken: bool) -> Sequence[NewTask]:
    """Return the new tasks whose key is free. Of several new tasks with the same key, only the first can have the key.

    Raise ``AlreadyExistsError`` for a taken key unless ``skip_taken`` is true.
    """
    if isinstance(tasks, TaskBatch):
        return tasks
    taken: dict[str, tuple[str, str]] = {}
    kept: list[NewTask] = []
    left_out: set[str] = set()
    for task in tasks:
        key = task.unique_key
        if key is None:
            kept.append(task)
            continue
        other = taken.get(key)
        if other is None and (stored := bearer(db, key)) is not None:
            other = stored.instance_id, stored.task_id
        if other is None:
            kept.append(task)
            taken[key] = instance_id, task.task_id
        elif skip_taken:
            left_out.add(task.task_id)
        else:
            raise taken_error(key, TaskRef(*other))
    if left_out:
        for task in kept:
            for name in task.depends_on:
                if name in left_out:
                    raise unknown_dependency(task.task_id, name)
    return kept


def taken_error(key: str, ref: TaskRef) -> AlreadyExistsError:
    """Return the error for a key that an open task has."""
    return AlreadyExistsError(
        f"task {ref.task_id!r} of instance {ref.instance_id!r}, which has not ended, has the unique_key {key!r}",
        instance_id=ref.instance_id,
        task_id=ref.task_id,
    )


def take_again(db: Database, id: int) -> None:
    """Let a task that is open again have its key. Raise ``AlreadyExistsError`` if a different open task has the key."""
    for (key,) in db.rows(sql.key_of, id):
        rows = db.rows(sql.key_bearer, key)
        if rows and rows[0].id == id:
            return
        other = bearer(db, key)
        if other is not None:
            raise taken_error(key, TaskRef(other.instance_id, other.task_id))
        db.execute(sql.set_key, (key, id))
