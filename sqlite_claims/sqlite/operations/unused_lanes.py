"""Removing shared lanes and retry policies that no task uses any more.

A task names its lane and its policy by number, and no index leads back from them: only reading all tasks shows which
are in use. That is done in short reads, after a prune, if there are many lanes and policies. Tasks that are added
meanwhile have larger ids than the newest task had, as long as that one exists; before anything is removed, those are
read too, under the write lock.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import apsw

from ..database import Database
from ..statements import sql

# Up to this many lanes and policies, reading all tasks is not worth its cost.
KEPT = 64
# Tasks that are read in one step: a millisecond or two.
TASKS_PER_STEP = 5000
# Lanes and policies that are removed in one transaction.
REMOVED_PER_STEP = 5000
# Above the id of every task.
_LAST = (1 << 63) - 1


@dataclass(slots=True)
class Unused:
    """Lanes and policies that no task read so far uses.

    ``newest``: the newest task when the reading began. ``instance``: that task's. ``passed``: the last task read.
    """

    lanes: set[int]
    policies: set[int]
    newest: int
    instance: int
    passed: int = 0


def begin(db: Database) -> Unused | None:
    """Begin to search for unused lanes and policies; ``None``: there are too few of them."""
    lanes = {id for (id,) in db.rows(sql.shared_lanes)}
    policies = {id for (id,) in db.rows(sql.policies)}
    if len(lanes) + len(policies) <= KEPT:
        return None
    newest = db.rows(sql.newest_task_and_instance)
    return Unused(lanes, policies, *(newest[0] if newest else (0, 0)))


def pass_step(db: Database, unused: Unused) -> bool:
    """Read some more tasks. Returns ``False`` once all have been read, or no lane and no policy is unused."""
    return _read_tasks(db, unused, unused.passed, unused.newest) == TASKS_PER_STEP and bool(
        unused.lanes or unused.policies
    )


def _read_tasks(db: Database, unused: Unused, after: int, up_to: int) -> int:
    rows = db.rows(sql.references, after, up_to, TASKS_PER_STEP)
    for id, lane, policy in rows:
        unused.lanes.discard(lane)
        unused.policies.discard(policy)
        unused.passed = id
    return len(rows)


def remove_step(db: Database, unused: Unused) -> bool:
    """Remove some unused lanes and policies. Returns ``False`` once none is left.

    Also ``False`` if it is not known any more what is unused: then the next prune tries again.
    """
    if unused.newest and db.rows(sql.instance_of, unused.newest) != [(unused.instance,)]:
        return False
    if _read_tasks(db, unused, unused.newest, _LAST) == TASKS_PER_STEP:
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
