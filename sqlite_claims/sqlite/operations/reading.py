"""Functions that read rows for people and programs, and turn the rows into public records."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from typing import Any

import apsw

from ...errors import NotFoundError
from ...explain import explain
from ...model import InstanceInfo, InstanceState, Progress, StoreStats, TaskClaim, TaskInfo, TaskState, WorkerInfo
from .. import limits
from ..codes import HAS_OPTIONS, INSTANCE_STATES, TASK_STATES, InstanceCode, TaskCode
from ..database import Database
from ..rows import ClaimRow, InstanceRow, TaskRow, Totals
from ..statements import sql
from ..times import moment, moment_or_none
from . import options
from .settling import stored_policy
from .sweep import is_over, sweep_state

# The number of records in a page. No read transaction is open between pages.
PAGE = 500
# If an instance has at most this many tasks, its scheduled tasks are counted by reading all tasks of the instance. For
# a larger instance, all scheduled tasks of the store are read instead.
_COUNT_OWN_MAX = 10_000


def task_state(
    db: Database, state: int, instance_state: int, *, position: int | None, due_wall: int | None
) -> TaskState:
    """Return a task's public state.

    ``position``: the task's position in the order of claims. ``due_wall``: the ``available_at`` of a task that has no
    position yet, else ``None``.
    """
    if instance_state == InstanceCode.CANCELLED and state < TaskCode.COMPLETED:
        return TaskState.CANCELLED
    if state != TaskCode.WAITING:
        return TASK_STATES[state]
    if due_wall is not None:
        return TaskState.SCHEDULED if due_wall > db.time.wall else TaskState.READY
    return TaskState.SCHEDULED if position is not None and position > db.time.now else TaskState.READY


def _task_row(db: Database, instance_id: str, task_id: str) -> TaskRow:
    rows = db.rows(sql.task, instance_id, task_id)
    if not rows:
        raise NotFoundError(
            f"there is no task {task_id!r} in instance {instance_id!r}", instance_id=instance_id, task_id=task_id
        )
    return rows[0]


def get_task(db: Database, *, instance_id: str, task_id: str) -> TaskInfo:
    """Return the record of a task."""
    return task_info(db, _task_row(db, instance_id, task_id))


def get_tasks(db: Database, refs: Sequence[tuple[str, str]]) -> list[TaskInfo | None]:
    """Return the record of each task; ``None`` for a task that doesn't exist."""
    found = (db.rows(sql.task, instance_id, task_id) for instance_id, task_id in refs)
    return [task_info(db, rows[0]) if rows else None for rows in found]


def task_info(db: Database, row: TaskRow) -> TaskInfo:
    """Return the public record for a task's row."""
    waits_for_day = row.state == TaskCode.WAITING and row.next_at is None
    state = task_state(
        db, row.state, row.instance_state, position=row.position, due_wall=row.due_wall if waits_for_day else None
    )
    claim = None
    if state is TaskState.CLAIMED:
        claim = _claim(db, ClaimRow._make(getattr(row, field) for field in ClaimRow._fields))
    finished = row.finished_wall
    if state is TaskState.CANCELLED and finished is None:
        finished = row.instance_finished_wall
    kind, tags, traits = db.lanes.lane_of(db, row.lane)
    given = options.of_tasks(db, [row.id])[row.id] if traits & HAS_OPTIONS else options.NO_OPTIONS
    return TaskInfo(
        instance_id=row.instance_id,
        task_id=row.task_id,
        input=row.input or b"",
        workflow_definition_hash=row.definition_hash,
        kind=kind,
        priority=row.priority,
        tags=tags,
        depends_on=tuple(name for name, _ in db.rows(sql.dependencies, row.id)),
        delay=None if row.delay is None else row.delay / 1e6,
        available_at=moment_or_none(row.due_wall),
        max_attempts=row.max_attempts,
        max_lost=row.max_lost,
        retry=stored_policy(db, row.policy),
        limit=limits.limit_of(db, row.lane),
        state=state,
        attempts=row.attempts,
        failures=row.failures,
        losses=row.losses,
        output=(row.output or b"") if row.state == TaskCode.COMPLETED else None,
        error=row.error,
        worker_id=row.worker,
        claim=claim,
        added_at=moment(row.added_wall),
        started_at=moment_or_none(row.started_wall),
        finished_at=moment_or_none(finished),
        progress=None
        if row.reported_wall is None
        else Progress(row.done, row.total, row.note, moment(row.reported_wall)),
        checkpoint=row.checkpoint,
        unique_key=given.unique_key,
        metadata=options.metadata_of(db, given),
        timeout=None if given.timeout is None else given.timeout / 1e6,
        expires_at=moment_or_none(given.expires_wall),
    )


def _claim(db: Database, row: ClaimRow) -> TaskClaim:
    ends = None if row.lease_expires is None else db.time.lease_ends(row.lease_expires)
    for wall in (row.started_wall, row.expires_wall):
        moment_or_none(wall)  # raises an error if the number is not a valid date
    expires_at = None if row.expires_wall is None else row.expires_wall / 1e6
    return TaskClaim(
        row.instance_id,
        row.task_id,
        row.worker,
        row.started_wall / 1e6,
        expires_at,
        row.token,
        ends,
        db.time.clock,
        row.id,
    )


def claims_page(db: Database, after: array[int] | None, worker_id: str | None) -> tuple[list[TaskClaim], Any]:
    """Return a page of the claims, and the ids of the tasks on later pages (``None``: this is the last page).

    All ids are read once, for the first page. A claim that has ended when its page is read is left out. A claim that is
    made after the first page can be missing.
    """
    ids = array("q", (id for (id,) in db.rows(sql.claims))) if after is None else after
    if not ids:
        return [], None
    page = db.rows(sql.claims_page, apsw.carray(ids[:PAGE]))
    return [_claim(db, row) for row in page if worker_id is None or row.worker == worker_id], ids[PAGE:] or None


def instance_row(db: Database, instance_id: str) -> int:
    """Return the row id of the instance."""
    rows = db.rows(sql.instance_by_name, instance_id)
    if not rows:
        raise NotFoundError(f"there is no instance {instance_id!r}", instance_id=instance_id)
    return rows[0].id


def get_instance(db: Database, instance_id: str) -> InstanceInfo:
    """Return the record of an instance."""
    rows = db.rows(sql.instance, instance_id)
    if not rows:
        raise NotFoundError(f"there is no instance {instance_id!r}", instance_id=instance_id)
    return _instance_info(db, rows[0])


def _instance_info(db: Database, row: InstanceRow) -> InstanceInfo:
    totals = Totals(row.total, row.blocked, row.completed, row.failed, row.cancelled)
    claimed = scheduled = 0
    still_open = row.total - row.completed - row.failed - row.cancelled
    if still_open > 0:
        claimed = db.value(sql.instance_claims, row.id)
        if still_open - row.blocked - claimed:
            statement = sql.scheduled_among_own if row.total <= _COUNT_OWN_MAX else sql.scheduled_of_instance
            scheduled = db.value(statement, row.id, db.time.now, db.time.wall)
    return InstanceInfo(
        row.name,
        INSTANCE_STATES[row.state],
        counts_of(totals, scheduled=scheduled, claimed=claimed),
        row.definition_hash,
        row.reason,
        moment(row.added_wall),
        moment_or_none(row.finished_wall),
        row.state == InstanceCode.CANCELLED,
    )


def counts_of(totals: Totals, *, scheduled: int, claimed: int) -> dict[TaskState, int]:
    """Return the number of tasks in each public state."""
    total, blocked, completed, failed, cancelled = totals
    ready = total - blocked - scheduled - claimed - completed - failed - cancelled
    return dict(zip(TaskState, (blocked, scheduled, ready, claimed, completed, failed, cancelled), strict=True))


def stats(db: Database) -> StoreStats:
    """Return the number of tasks in each state over all instances, and the waiting time of the oldest ready task."""
    _, _, is_moving, _, _, _, _ = sweep_state(db)
    scheduled, position = db.rows(sql.waiting_in_motion if is_moving else sql.waiting, db.time.now, db.time.wall)[0]
    ages_us = [] if position is None else [db.time.now - position]
    if (limited := limits.longest_wait(db)) is not None:
        ages_us.append(limited)
    if (due_wall := db.value(sql.longest_due, db.time.wall)) is not None:
        ages_us.append(db.time.wall - due_wall)
    claimed, live = db.rows(sql.claim_counts, db.time.now)[0]
    counts = counts_of(db.rows(sql.totals)[0], scheduled=scheduled, claimed=claimed)
    return StoreStats(counts, live, max(ages_us) / 1e6 if ages_us else None)


def instances_page(
    db: Database, after: Any, states: Collection[InstanceState] | None
) -> tuple[list[InstanceInfo], Any]:
    """Return a page of instances, and the start of the next page; ``None``: this is the last page."""
    rows = db.rows(sql.instances_page, after or 0, PAGE)
    infos = [_instance_info(db, row) for row in rows if states is None or INSTANCE_STATES[row.state] in states]
    return infos, rows[-1].id if len(rows) == PAGE else None


def workers(db: Database) -> list[WorkerInfo]:
    """Return the records of all sessions."""
    return [
        WorkerInfo(worker, pid, moment(started), db.sessions is not None and not is_over(db, id), claims)
        for id, worker, pid, started, claims in db.rows(sql.workers)
    ]


def aging(db: Database) -> int | None:
    """Return the aging interval in microseconds; ``None``: no aging."""
    interval_us, _, _, _, _, _, _ = sweep_state(db)
    return interval_us


def explain_task(db: Database, instance_id: str, task_id: str) -> str:
    """Explain in one sentence why a task is not running."""
    row = _task_row(db, instance_id, task_id)
    task = task_info(db, row)
    instance = get_instance(db, instance_id)
    unmet_states = {TaskCode.BLOCKED, TaskCode.WAITING, TaskCode.CLAIMED, TaskCode.FAILED, TaskCode.CANCELLED}
    if task.state is TaskState.CANCELLED and instance.state is not InstanceState.CANCELLED:
        unmet_states = {TaskCode.FAILED, TaskCode.CANCELLED}
    if row.next_at is None and row.due_wall is not None:
        due_in_s = (row.due_wall - db.time.wall) / 1e6
    else:
        due_in_s = (row.position - db.time.now) / 1e6
    session = db.rows(sql.task_by_name, instance_id, task_id)[0].session
    is_gone = session is not None and is_over(db, session)
    holding_pids: list[int] = []
    for (opener,) in db.rows(sql.session_pid, session):
        assert db.sessions is not None
        assert session is not None
        is_gone = is_gone or db.sessions.is_left_behind(session, opener)
        holding_pids = db.sessions.keepers(session, opener)
    return explain(
        task,
        instance,
        unmet=[name for name, state in db.rows(sql.dependencies, row.id) if state in unmet_states],
        due_in_s=max(0.0, due_in_s),
        waited_s=max(0.0, -due_in_s),
        is_last_claim=task.losses + 1 >= task.max_lost,
        is_holder_gone=is_gone,
        holding_pids=holding_pids,
        open_sessions=sum(worker.alive for worker in workers(db)),
        is_limit_full=limits.is_full(db, row.lane),
        wall_us=db.time.wall,
    )
