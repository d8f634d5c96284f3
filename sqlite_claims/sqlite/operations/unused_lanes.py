"""Removing shared lanes, queues of limits, partitions and retry policies that no task uses any more.

A task's row contains the numbers of its lane and its policy. No index finds the tasks of a lane or a policy, so only a
read of all tasks shows which lanes and policies are in use. If there are many lanes and policies, a prune reads all
tasks, in short steps. Tasks that are added during these steps have larger ids than the task that was the newest at the
start, as long as that task exists. These added tasks are read under the write lock before any lane or policy is
removed.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import apsw

from ..database import Database
from ..statements import sql

# If there are at most this many lanes and policies, none is removed, because a read of all tasks would cost more than
# the removal saves.
KEPT = 64
# The number of tasks that are read in one step, which takes one or two milliseconds.
TASKS_PER_STEP = 5000
# The number of lanes, and of policies, that one transaction removes.
REMOVED_PER_STEP = 5000
# The largest possible id of a task.
_LAST = (1 << 63) - 1


@dataclass(slots=True)
class Unused:
    """The lanes, policies and queues that are not used by any task read so far.

    ``newest``: the task that was the newest at the start. ``instance``: the instance of that task. ``passed``: the last
    task read.
    """

    lanes: set[int]
    policies: set[int]
    queues: set[int]
    newest: int
    instance: int
    passed: int = 0


def begin(db: Database) -> Unused | None:
    """Begin to search for unused lanes and policies; ``None``: there are too few lanes and policies for a search."""
    lanes = {id for (id,) in db.rows(sql.shared_lanes)}
    policies = {id for (id,) in db.rows(sql.policies)}
    queues = {id for (id,) in db.rows(sql.queues)}
    if len(lanes) + len(policies) + len(queues) <= KEPT:
        return None
    newest = db.rows(sql.newest_task_and_instance)
    return Unused(lanes, policies, queues, *(newest[0] if newest else (0, 0)))


def pass_step(db: Database, unused: Unused) -> bool:
    """Read some more tasks. Return ``False`` once all tasks have been read, or if every lane and policy is in use."""
    return _read_tasks(db, unused, unused.passed, unused.newest) == TASKS_PER_STEP and bool(
        unused.lanes or unused.policies or unused.queues
    )


def _read_tasks(db: Database, unused: Unused, after: int, up_to: int) -> int:
    rows = db.rows(sql.references, after, up_to, TASKS_PER_STEP)
    for id, lane, policy in rows:
        unused.lanes.discard(lane)
        unused.queues.discard(lane)
        unused.policies.discard(policy)
        unused.passed = id
    return len(rows)


def remove_step(db: Database, unused: Unused) -> bool:
    """Remove some unused lanes and policies. Return ``False`` once no unused lane or policy is left.

    Also return ``False`` if the list of unused lanes and policies may be out of date. Then the next prune searches
    again.
    """
    if unused.newest and db.rows(sql.instance_of, unused.newest) != [(unused.instance,)]:
        return False
    if _read_tasks(db, unused, unused.newest, _LAST) == TASKS_PER_STEP:
        return False
    if unused.queues:
        return _remove_queues(db, unused)
    unused.lanes.difference_update(lane for (lane,) in db.rows(sql.lanes_of_queues))
    lanes = array("q", sorted(unused.lanes)[:REMOVED_PER_STEP])
    policies = array("q", sorted(unused.policies)[:REMOVED_PER_STEP])
    if lanes:
        db.execute(sql.drop_lanes, (apsw.carray(lanes),))
        db.lanes.dropped(db)
    if policies:
        db.execute(sql.drop_policies, (apsw.carray(policies),))
    unused.lanes.difference_update(lanes)
    unused.policies.difference_update(policies)
    return bool(unused.lanes or unused.policies)


def _remove_queues(db: Database, unused: Unused) -> bool:
    """Remove some unused queues. After the last unused queue, also remove the unused partitions."""
    queues = array("q", sorted(unused.queues)[:REMOVED_PER_STEP])
    db.execute(sql.drop_queues, (apsw.carray(queues),))
    db.execute(sql.drop_heads, (apsw.carray(queues),))
    unused.queues.difference_update(queues)
    if not unused.queues:
        db.execute(sql.drop_old_rated, (db.time.now,))
        db.execute(sql.drop_partitions)
    return True
