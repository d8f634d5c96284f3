"""Removing shared lanes and retry policies that no task has any more.

A task names its lane and its policy by number, and no index leads back from them: only a pass over all tasks tells
which are in use. It is made by short reads, after a prune, where there are many of either. Tasks that are added
meanwhile get larger numbers than the newest one had, as long as that one is there; so who removes looks at those once
more, under the write lock.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import apsw

from ..database import Database
from ..statements import sql

# As many lanes and policies are not worth a pass over all tasks.
KEPT = 64
# Tasks that are read in one step: a millisecond or two.
STEP = 5000
# Lanes and policies that are removed in one transaction.
REMOVED_PER_STEP = 5000
# No store writes a larger number of a task.
_LAST = (1 << 63) - 1


@dataclass(slots=True)
class Unused:
    """Lanes and policies that no task has so far. ``newest``: the task that was the newest, and its instance."""

    lanes: set[int]
    policies: set[int]
    newest: int
    instance: int
    passed: int = 0


def begin(db: Database) -> Unused | None:
    """Begin a pass; ``None``: there is nothing worth one."""
    lanes = {id for (id,) in db.rows(sql.shared_lanes)}
    policies = {id for (id,) in db.rows(sql.policies)}
    if len(lanes) + len(policies) <= KEPT:
        return None
    newest = db.rows(sql.newest_task_and_instance)
    return Unused(lanes, policies, *(newest[0] if newest else (0, 0)))


def pass_step(db: Database, unused: Unused) -> bool:
    """Look at some tasks more. ``False`` where all that were there have been looked at, or everything is in use."""
    return _look(db, unused, unused.passed, unused.newest) == STEP and bool(unused.lanes or unused.policies)


def _look(db: Database, unused: Unused, after: int, up_to: int) -> int:
    rows = db.rows(sql.references, after, up_to, STEP)
    for id, lane, policy in rows:
        unused.lanes.discard(lane)
        unused.policies.discard(policy)
        unused.passed = id
    return len(rows)


def remove_step(db: Database, unused: Unused) -> bool:
    """Remove some of what is unused. ``False`` where nothing is left to remove, or it can't be told any more what is
    unused: then the next prune tries again."""
    if unused.newest and db.rows(sql.instance_of, unused.newest) != [(unused.instance,)]:
        return False
    if _look(db, unused, unused.newest, _LAST) == STEP:
        return False
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
