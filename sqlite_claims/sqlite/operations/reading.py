"""Reading for people and programs: from rows to records."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import apsw

from ...errors import NotFoundError
from ...model import InstanceInfo, InstanceState, StoreStats, TaskClaim, TaskInfo, TaskState, WorkerInfo
from ..codes import BLOCKED, CALLED_OFF, CANCELLED, CLAIMED, COMPLETED, FAILED, INSTANCE_STATES, TASK_STATES, WAITING
from ..database import Database
from ..statements import sql
from .settling import stored_policy
from .sweep import is_over

# Records a page; between pages no read transaction is open.
PAGE = 500
# Up to this many tasks an instance's own rows are counted, beyond it what the whole index holds for later.
_COUNT_OWN_MAX = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(wall_us: int) -> datetime:
    """An aware ``datetime`` in UTC, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=wall_us)


def _moment(wall_us: int | None) -> datetime | None:
    return None if wall_us is None else moment(wall_us)


def task_state(db: Database, state: int, instance_state: int, ready_at: int | None, due_wall: int | None) -> TaskState:
    """``ready_at``: the row's own place; ``due_wall`` only where the calendar hasn't let it join the order yet."""
    if instance_state == CALLED_OFF and state < COMPLETED:
        return TaskState.CANCELLED
    if state != WAITING:
        return TASK_STATES[state]
    if due_wall is not None:
        return TaskState.SCHEDULED if due_wall > db.time.wall else TaskState.READY
    return TaskState.SCHEDULED if ready_at is not None and ready_at > db.time.now else TaskState.READY


def get_task(db: Database, instance_id: str, task_id: str) -> TaskInfo:
    rows = db.rows(sql.task, instance_id, task_id)
    if not rows:
        raise NotFoundError(f"there is no task {task_id!r} in an instance {instance_id!r}")
    return task_info(db, rows[0])


def task_info(db: Database, row: tuple[Any, ...]) -> TaskInfo:
    (id, instance_id, task_id, data, definition_hash, lane, priority, delay, due_wall, max_attempts, max_lost, policy,
     code, instance_code, available_at, next_at, attempts, failures, losses, output, error, worker, token,
     lease_expires, started, expires, added, finished, instance_finished) = row  # fmt: skip
    waits_for_day = due_wall if code == WAITING and next_at is None else None
    state = task_state(db, code, instance_code, available_at, waits_for_day)
    claim = None
    if state is TaskState.CLAIMED:
        claim = _claim(db, (id, instance_id, task_id, worker, started, expires, token, lease_expires))
    if state is TaskState.CANCELLED and finished is None:
        finished = instance_finished
    kind, tags = db.lanes.of(db, lane)
    return TaskInfo(
        instance_id=instance_id,
        task_id=task_id,
        input=data or b"",
        workflow_definition_hash=definition_hash,
        kind=kind,
        priority=priority,
        tags=tags,
        depends_on=tuple(name for name, _ in db.rows(sql.dependencies, id)),
        delay=None if delay is None else delay / 1e6,
        available_at=_moment(due_wall),
        max_attempts=max_attempts,
        max_lost=max_lost,
        retry=stored_policy(db, policy),
        state=state,
        attempts=attempts,
        failures=failures,
        losses=losses,
        output=(output or b"") if code == COMPLETED else None,
        error=error,
        worker_id=worker,
        claim=claim,
        added_at=moment(added),
        started_at=_moment(started),
        finished_at=_moment(finished),
    )


def _claim(db: Database, row: tuple[Any, ...]) -> TaskClaim:
    id, instance_id, task_id, worker, started, expires, token, lease_expires = row
    ends = None if lease_expires is None else db.time.lease_ends(lease_expires)
    for wall in (started, expires):
        _moment(wall)  # which refuses what is no date
    expires_at = None if expires is None else expires / 1e6
    return TaskClaim(instance_id, task_id, worker, started / 1e6, expires_at, token, ends, db.time.clock, id)


def claims_page(db: Database, after: array[int] | None, worker_id: str | None) -> tuple[list[TaskClaim], Any]:
    """A page of the claims there are, and the rows of those to come (``None``: none). The rows are looked up once, all
    of them; a claim that ends meanwhile is left out, one that is made meanwhile may be."""
    rows = array("q", (id for (id,) in db.rows(sql.claims))) if after is None else after
    if not rows:
        return [], None
    page = db.rows(sql.claims_page, apsw.carray(rows[:PAGE]))
    return [_claim(db, row) for row in page if worker_id is None or row[3] == worker_id], rows[PAGE:] or None


def instance_row(db: Database, instance_id: str) -> int:
    """The id that an instance has in the file."""
    rows = db.rows(sql.instance_by_name, instance_id)
    if not rows:
        raise NotFoundError(f"there is no instance {instance_id!r}")
    id: int = rows[0][0]
    return id


def get_instance(db: Database, instance_id: str) -> InstanceInfo:
    rows = db.rows(sql.instance, instance_id)
    if not rows:
        raise NotFoundError(f"there is no instance {instance_id!r}")
    return _instance_info(db, rows[0])


def _instance_info(db: Database, row: tuple[Any, ...]) -> InstanceInfo:
    id, name, state, definition_hash, reason, total, blocked, completed, failed, cancelled, added, finished = row
    claimed = scheduled = 0
    if total > completed + failed + cancelled:
        claimed = db.rows(sql.instance_claims, id)[0][0]
        if total - blocked - completed - failed - cancelled - claimed:
            statement = sql.scheduled_among_own if total <= _COUNT_OWN_MAX else sql.scheduled_of_instance
            scheduled = db.rows(statement, id, db.time.now, db.time.wall)[0][0]
    counts = counts_of(total, blocked, scheduled, claimed, completed, failed, cancelled)
    return InstanceInfo(name, INSTANCE_STATES[state], counts, definition_hash, reason, moment(added), _moment(finished))


def counts_of(
    total: int, blocked: int, scheduled: int, claimed: int, completed: int, failed: int, cancelled: int
) -> dict[TaskState, int]:
    ready = total - blocked - scheduled - claimed - completed - failed - cancelled
    return dict(zip(TaskState, (blocked, scheduled, ready, claimed, completed, failed, cancelled), strict=True))


def stats(db: Database) -> StoreStats:
    total, blocked, completed, failed, cancelled = db.rows(sql.totals)[0]
    moving = db.rows(sql.look, db.time.now, db.time.wall)[0][2]
    statement = sql.waiting_in_motion if moving else sql.waiting
    scheduled, *places = db.rows(statement, db.time.now, db.time.wall)[0]
    ages = [db.time.now - place for place in places if place is not None]
    if (due := db.rows(sql.longest_due, db.time.wall)[0][0]) is not None:
        ages.append(db.time.wall - due)
    claimed, live = db.rows(sql.held, db.time.now)[0]
    age = max(ages) / 1e6 if ages else None
    return StoreStats(counts_of(total, blocked, scheduled, claimed, completed, failed, cancelled), live, age)


def instances_page(
    db: Database, after: Any, states: Collection[InstanceState] | None
) -> tuple[list[InstanceInfo], Any]:
    """A page of instances, and where the next one starts (``None``: nowhere)."""
    rows = db.rows(sql.instances_page, after or 0, PAGE)
    found = [_instance_info(db, row) for row in rows if states is None or INSTANCE_STATES[row[2]] in states]
    return found, rows[-1][0] if len(rows) == PAGE else None


def workers(db: Database) -> list[WorkerInfo]:
    return [
        WorkerInfo(worker, pid, moment(started), db.sessions is not None and not is_over(db, id), claims)
        for id, worker, pid, started, claims in db.rows(sql.workers)
    ]


def aging(db: Database) -> int | None:
    value: int | None = db.rows(sql.look, db.time.now, db.time.wall)[0][0]
    return value


def explain_task(db: Database, instance_id: str, task_id: str, explain: Callable[..., str]) -> str:
    """``explain`` gets what it wants to know about one task."""
    rows = db.rows(sql.task, instance_id, task_id)
    if not rows:
        raise NotFoundError(f"there is no task {task_id!r} in an instance {instance_id!r}")
    row = rows[0]
    task = task_info(db, row)
    instance = get_instance(db, instance_id)
    unwanted: tuple[int, ...] = (BLOCKED, WAITING, CLAIMED, FAILED, CANCELLED)
    if task.state is TaskState.CANCELLED and instance.state is not InstanceState.CANCELLED:
        unwanted = (FAILED, CANCELLED)
    by_day = row[15] is None and row[8] is not None
    due_in = (row[8] - db.time.wall if by_day else row[14] - db.time.now) / 1e6
    session = db.rows(sql.task_by_name, instance_id, task_id)[0][12]
    is_gone = session is not None and is_over(db, session)
    kept_by: list[int] = []
    for (opener,) in db.rows(sql.session_pid, session):
        assert db.sessions is not None
        is_gone = is_gone or db.sessions.is_left_behind(session, opener)
        kept_by = db.sessions.keepers(session, opener)
    return explain(
        task,
        instance,
        unmet=[name for name, state in db.rows(sql.dependencies, row[0]) if state in unwanted],
        due_in=max(0.0, due_in),
        waited=max(0.0, -due_in),
        last_claim=task.losses + 1 >= task.max_lost,
        holder_is_gone=is_gone,
        kept_by=kept_by,
        workers=sum(worker.alive for worker in workers(db)),
        wall_us=db.time.wall,
    )
