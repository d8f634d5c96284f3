"""Pruning: the deletion of instances that ended long ago, in short steps. This module also sets the aging interval."""

from __future__ import annotations

from array import array

import apsw

from ..database import Database
from ..rows import EndedInstance
from ..statements import sql

# The number of tasks that one transaction deletes. The transaction holds the write lock for a few milliseconds.
TASKS_PER_STEP = 1000


def candidates(db: Database, *, before_wall: int, limit: int) -> list[EndedInstance]:
    """Return instances that ended before ``before_wall`` and to which no process is still adding tasks."""
    assert db.sessions is not None
    fed = 0
    while True:
        ended = db.rows(sql.ended_before, before_wall, limit + fed)
        unfed = [instance for instance in ended if not db.is_fed(instance.id)]
        if len(unfed) >= limit or len(ended) < limit + fed:
            return unfed[:limit]
        fed = len(ended) - len(unfed)


def newest_token(db: Database, id: int) -> int:
    """Return the newest token of an instance's tasks. The function reads all tasks of the instance.

    Call this function in a separate transaction for each instance, because one long transaction would prevent a reset
    of the -wal.
    """
    return db.value(sql.newest_token, id)


def prune_instance(db: Database, id: int, *, finished_wall: int, token: int) -> bool:
    """Delete an instance's row, unless the instance has changed since its selection or a process is adding tasks to the
    instance.

    The instance's tasks are deleted in later steps. ``token``: the newest token of the instance's tasks. All later
    tokens of the store are larger, so a task that is added under the same name never gets a token that was already
    used.
    """
    assert db.sessions is not None
    if not db.value(sql.still_ended, id, finished_wall) or db.is_fed(id):
        return False
    db.execute(sql.raise_token_floor, (token,))
    db.execute(sql.drop_instance, (id,))
    db.execute(sql.add_pruned, (id,))
    return True


def remove_step(db: Database) -> bool:
    """Delete some tasks of a pruned instance; return ``False`` if no pruned instance is left."""
    rows = db.rows(sql.pruned)
    if not rows:
        return False
    ((instance,),) = rows
    ids = array("q", [id for (id,) in db.rows(sql.pruned_tasks, instance, TASKS_PER_STEP)])
    if ids:
        bound = apsw.carray(ids)
        statements = (
            sql.drop_inputs,
            sql.drop_outputs,
            sql.drop_errors,
            sql.drop_attempts,
            sql.drop_checkpoints,
            sql.drop_all_progress,
            sql.drop_keys,
            sql.drop_options,
            sql.drop_dependencies,
            sql.drop_tasks,
        )
        for statement in statements:
            db.execute(statement, (bound,))
    if len(ids) < TASKS_PER_STEP:
        db.lanes.drop_own(db, instance)
        db.execute(sql.drop_pruned, (instance,))
    return True


def shrink_step(db: Database) -> bool:
    """Return some unused pages to the file system; return ``False`` if no page was freed."""
    free = db.value(sql.freelist_count)
    if free:
        db.execute(sql.incremental_vacuum).fetchall()
    return db.value(sql.freelist_count) < free


def set_aging(db: Database, aging: int | None) -> None:
    """Set the aging interval in microseconds. No other stored value depends on the interval."""
    db.execute(sql.set_aging, (aging,))
