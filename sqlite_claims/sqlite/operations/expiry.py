"""The expiry of tasks that no worker has claimed before their ``expires_at``.

``claims_options.expiring`` is the wall-clock time of the expiry until the task is claimed for the first time or ends.
While ``claims_meta.expiring`` is 0, no task can expire, and a search for work reads nothing else.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import apsw

from ...explain import EXPIRED
from ...validate import LIMIT_MAX
from ..codes import HAS_OPTIONS, InstanceCode, TaskCode
from ..database import Database
from ..statements import sql
from . import settling

# The number of expired tasks that one transaction cancels. The transaction holds the write lock for a few milliseconds.
TASKS_PER_STEP = 200


def is_due(db: Database, expiring: int | None) -> bool:
    """Return whether an expiry has been reached. ``expiring``: see ``claims_options``."""
    return expiring is not None and expiring <= db.time.wall


def any_due(db: Database) -> bool:
    """Return whether a task has expired, but is not cancelled yet."""
    rows = db.rows(sql.has_expired_tasks, db.time.wall)
    return bool(rows and rows[0][0])


def sweep_step(db: Database) -> bool:
    """Cancel a bounded number of expired tasks; return whether more expired tasks may be left."""
    ids = [id for (id,) in db.rows(sql.expired_tasks, db.time.wall, TASKS_PER_STEP)]
    for id in ids:
        expire(db, id)
    if ids and len(ids) < TASKS_PER_STEP:
        db.execute(sql.nothing_expires)
    return len(ids) == TASKS_PER_STEP


def expire(db: Database, id: int) -> None:
    """Cancel a task that has expired. If the task has ended already, only record that the task can't expire."""
    clear(db, [id])
    rows = db.rows(sql.task_of_loss, id)
    # The tasks of a cancelled instance are cancelled by control.move_step.
    if not rows or rows[0].instance_state == InstanceCode.CANCELLED:
        return
    if rows[0].state in (TaskCode.BLOCKED, TaskCode.WAITING):
        settling.cancel(db, id, rows[0], error=EXPIRED)


def expire_if_due(db: Database, id: int, lane: int) -> bool:
    """Cancel a task if the task has expired; return whether the task had expired. ``lane``: ``claims_tasks.lane``."""
    if not db.lanes.lane_of(db, lane)[2] & HAS_OPTIONS:
        return False
    is_expired = bool(db.rows(sql.expired_among, apsw.carray(array("q", [id])), db.time.wall))
    if is_expired:
        expire(db, id)
    return is_expired


def clear(db: Database, ids: Sequence[int]) -> None:
    """Record that these tasks can't expire any more."""
    db.execute(sql.not_expiring, (apsw.carray(array("q", ids)),))


def restore(db: Database, id: int) -> None:
    """Let a task expire again that was cancelled before its first claim and is open again."""
    db.execute(sql.expiring_again, (id,))
    if db.changes():
        db.execute(sql.set_expiring)


def without_expired(db: Database, search: Callable[[int], array[int]], limit: int) -> array[int]:
    """Return the ids of the first ``limit`` tasks that a search finds and that have not expired.

    ``search``: a function that returns the ids of up to the given number of tasks, in order.
    """
    number = limit
    while True:
        ids = search(number)
        expired = {id for (id,) in db.rows(sql.expired_among, apsw.carray(ids), db.time.wall)} if ids else set()
        if len(ids) - len(expired) >= limit or len(ids) < number or number == LIMIT_MAX:
            return array("q", [id for id in ids if id not in expired][:limit])
        number = min(2 * number + len(expired), LIMIT_MAX)
