"""Lists of tasks, page by page. If an index or a counter can exclude tasks from the list, these tasks are not read."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from typing import Any

import apsw

from ...model import TaskInfo, TaskState
from ..codes import TASK_STATES, InstanceCode, TaskCode
from ..database import Database
from ..rows import ListedTask
from ..statements import Statement, sql
from .reading import PAGE, counts_of, instance_row, task_info, task_state

# The statements that find the tasks of a state by an index or a table. A failed task is found by its stored error.
_FOUND_BY: dict[TaskState, Statement[tuple[int]]] = {
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
    """Return a page of tasks, and the start of the next page; ``None``: this is the last page."""
    instance = 0 if instance_id is None else instance_row(db, instance_id)
    if after is None and _is_empty(db, instance, states, kinds):
        return [], None
    next_page: Any = None
    if instance:
        rows = db.rows(sql.task_rows_of_instance_page, after or "", PAGE, instance)
    elif states is not None and set(states) <= _FOUND_BY.keys():
        # The ids are read once, for the first page. A task that enters one of the states later may be missing from the
        # list.
        ids = _ids_of(db, states) if after is None else after
        rows, next_page = db.rows(sql.task_rows, apsw.carray(ids[:PAGE])) if ids else [], ids[PAGE:]
    else:
        rows = db.rows(sql.task_rows_page, after or 0, PAGE)
    if next_page is None and len(rows) == PAGE:
        next_page = rows[-1].page_end
    chosen = _chosen(db, rows, states, kinds)
    infos = [task_info(db, row) for row in db.rows(sql.task_by_row, apsw.carray(chosen))] if chosen else []
    return infos, next_page or None


def _is_empty(db: Database, instance: int, states: Collection[TaskState] | None, kinds: Collection[str] | None) -> bool:
    """Return whether lanes and counters alone show that the list is empty. ``instance`` 0: all instances."""
    if kinds is not None:
        db.lanes.refresh(db, db.value(sql.lanes_version))
        if not db.lanes.select((), frozenset(kinds)) and not db.lanes.select_limited((), frozenset(kinds)):
            return True
    if states is None:
        return False
    rows = db.rows(sql.totals_of_instance, instance) if instance else db.rows(sql.totals)
    counts = counts_of(rows[0], scheduled=0, claimed=0)
    counts[TaskState.SCHEDULED] = counts[TaskState.CLAIMED] = counts[TaskState.READY]  # ready + scheduled + claimed
    return not any(counts[state] for state in states)


def _ids_of(db: Database, states: Collection[TaskState]) -> array[int]:
    """Return the ids of all tasks in these states, and of some other tasks, sorted in the order of adding."""
    bindings = {TaskState.SCHEDULED: (db.time.now, db.time.wall)}
    return array("q", sorted({id for state in states for (id,) in db.rows(_FOUND_BY[state], *bindings.get(state, ()))}))


def _chosen(
    db: Database, rows: list[ListedTask], states: Collection[TaskState] | None, kinds: Collection[str] | None
) -> array[int]:
    """Return the ids of the tasks that have one of these states and one of these kinds."""
    if kinds is not None:
        rows = [row for row in rows if db.lanes.lane_of(db, row.lane)[0] in kinds]
    if states is not None:
        codes = {code for code, state in TASK_STATES.items() if state in states}
        if TaskState.READY in states or TaskState.SCHEDULED in states:
            codes.add(TaskCode.WAITING)
        cancelled = {id for (id,) in db.rows(sql.cancelled_in_motion)}
        if cancelled and TaskState.CANCELLED in states:
            codes |= {TaskCode.BLOCKED, TaskCode.WAITING, TaskCode.CLAIMED}
        rows = [row for row in rows if row.state in codes and _state_of(db, row, cancelled) in states]
    return array("q", [row.id for row in rows])


def _state_of(db: Database, task: ListedTask, cancelled: set[int]) -> TaskState:
    """Return a task's public state. ``cancelled``: the ids of the cancelled instances that are moving."""
    return task_state(
        db,
        task.state,
        InstanceCode.CANCELLED if task.instance in cancelled else InstanceCode.IN_PROGRESS,
        position=task.next_at,
        due_wall=task.due_wall if task.next_at is None else None,
    )
