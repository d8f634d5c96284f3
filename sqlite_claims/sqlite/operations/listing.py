"""Lists of tasks, page by page. What is left out is not read where an index or a counter tells of what is sought."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from typing import Any

import apsw

from ...model import TaskInfo, TaskState
from ..codes import BLOCKED, CALLED_OFF, CLAIMED, RUNNING, TASK_STATES, WAITING
from ..database import Database
from ..statements import sql
from .reading import PAGE, counts_of, instance_row, task_info, task_state

# States whose tasks an index or a table has: of what has failed, or is to be tried again, the errors.
_FOUND_BY = {
    TaskState.SCHEDULED: sql.scheduled_rows,
    TaskState.CLAIMED: sql.claims,
    TaskState.FAILED: sql.rows_with_error,
}


def tasks_page(
    db: Database,
    instance_id: str | None,
    after: Any,
    states: Collection[TaskState] | None,
    kinds: Collection[str] | None,
) -> tuple[list[TaskInfo], Any]:
    """A page of tasks, and where the next one starts (``None``: nowhere)."""
    instance = 0 if instance_id is None else instance_row(db, instance_id)
    if after is None and _is_nowhere(db, instance, states, kinds):
        return [], None
    left: Any = None
    if instance:
        rows = db.rows(sql.task_rows_of_instance_page, after or "", PAGE, instance)
    elif states is not None and set(states) <= _FOUND_BY.keys():
        # All are looked up once: what becomes so meanwhile may be left out.
        ids = _found(db, states) if after is None else after
        rows, left = db.rows(sql.task_rows, apsw.carray(ids[:PAGE])) if ids else [], ids[PAGE:]
    else:
        rows = db.rows(sql.task_rows_page, after or 0, PAGE)
    if left is None and len(rows) == PAGE:
        left = rows[-1][1]
    chosen = _chosen(db, rows, states, kinds)
    infos = [task_info(db, row) for row in db.rows(sql.task_by_row, apsw.carray(chosen))] if chosen else []
    return infos, left or None


def _is_nowhere(
    db: Database, instance: int, states: Collection[TaskState] | None, kinds: Collection[str] | None
) -> bool:
    """Whether no task, of one instance or at all, can be of these, as far as that is known without reading tasks."""
    if kinds is not None:
        db.lanes.refresh(db, db.rows(sql.lanes_version)[0][0])
        if not db.lanes.select((), frozenset(kinds)):
            return True
    if states is None:
        return False
    rows = db.rows(sql.totals_of_instance, instance) if instance else db.rows(sql.totals)
    total, blocked, completed, failed, cancelled = rows[0]
    counts = counts_of(total, blocked, 0, 0, completed, failed, cancelled)
    counts[TaskState.SCHEDULED] = counts[TaskState.CLAIMED] = counts[TaskState.READY]  # all three together
    return not any(counts[state] for state in states)


def _found(db: Database, states: Collection[TaskState]) -> array[int]:
    """The rows that these states' indices have, in the order of adding; some are of other states."""
    bindings = {TaskState.SCHEDULED: (db.time.now, db.time.wall)}
    return array("q", sorted({id for state in states for (id,) in db.rows(_FOUND_BY[state], *bindings.get(state, ()))}))


def _chosen(
    db: Database, rows: list[tuple[Any, ...]], states: Collection[TaskState] | None, kinds: Collection[str] | None
) -> array[int]:
    """The ids of those rows that are of these states and kinds."""
    if kinds is not None:
        rows = [row for row in rows if db.lanes.of(db, row[4])[0] in kinds]
    if states is not None:
        codes = {code for code, state in TASK_STATES.items() if state in states}
        if TaskState.READY in states or TaskState.SCHEDULED in states:
            codes.add(WAITING)
        called_off = {id for (id,) in db.rows(sql.called_off_in_motion, CALLED_OFF)}
        if called_off and TaskState.CANCELLED in states:
            codes |= {BLOCKED, WAITING, CLAIMED}
        rows = [row for row in rows if row[3] in codes and _shown(db, row, called_off) in states]
    return array("q", [row[0] for row in rows])


def _shown(db: Database, row: tuple[Any, ...], called_off: set[int]) -> TaskState:
    _, _, instance, state, _, next_at, due_wall = row
    return task_state(
        db, state, CALLED_OFF if instance in called_off else RUNNING, next_at, due_wall if next_at is None else None
    )
