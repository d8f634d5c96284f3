"""Finding, claiming and releasing tasks, renewing claims. Each function runs in the caller's transaction."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import apsw

from ...arguments import claim_names
from ...errors import ClaimLostError, NotFoundError
from ...model import NO_METADATA, AvailableTask, ClaimedTask, TaskClaim, make_available, make_claim, make_claimed
from ...validate import WALL_US_MAX
from ..codes import CLAIMED_SIDE, HAS_OPTIONS, InstanceCode, TaskCode
from ..database import Database
from ..lanes import Kinds, Tags
from ..limits import capacity, is_limited
from ..rows import FAILED_WORKER, ID, LANE, NEXT_TICK, FoundTask, HeldTask, NamedTask, SweepState
from ..statements import sql
from . import attempts, control, expiry, limit_search, limits, options, sweep

# The longest time between two searches of a worker that waits for work. Each search detects dead workers, so a waiting
# worker detects a dead worker within this time.
SHORT_US = 500_000
# These names avoid an attribute lookup for each task. In large batches, the lookups take a noticeable time.
_CLAIMED, _CANCELLED = TaskCode.CLAIMED, InstanceCode.CANCELLED


def find(
    db: Database, worker_id: str, limit: int, tags: Tags, kinds: Kinds, state: SweepState, limited: int
) -> Sequence[FoundTask]:
    """Return the tasks that can be claimed together, in order.

    Tasks whose last attempt failed on this worker come last. ``limited``: the largest number of tasks with a limit.
    """
    aging, lanes_version, moving, _, _, _, has_expired_tasks = state
    db.lanes.refresh(db, lanes_version)
    if moving or has_expired_tasks or db.lanes.are_many or db.lanes.any_limited:
        ids = _ready_ids(db, tags, kinds, limit, state, limited)
    else:
        ids = db.scan(db.lanes.select(tags, kinds), limit, aging, False)
    if not ids:
        return []
    if len(ids) == 1:
        return db.rows(sql.task_found, ids[0])
    tasks = db.rows(sql.tasks_found, apsw.carray(ids))
    if any(task[FAILED_WORKER] == worker_id for task in tasks):
        tasks.sort(key=lambda task: task[FAILED_WORKER] == worker_id)
    return tasks


def _ready_ids(db: Database, tags: Tags, kinds: Kinds, limit: int, state: SweepState, limited: int) -> array[int]:
    """Return the ids of the tasks that can be claimed, in order. The function also works while instances are moving or
    expired tasks are not cancelled yet."""
    aging, _, moving, _, _, _, has_expired_tasks = state

    def search(number: int) -> array[int]:
        if moving:
            return control.ready_ids(db, tags, kinds, number, aging)
        return db.scan(db.lanes.to_visit(db, tags, kinds, paused=False), number, aging, False)

    ids = expiry.without_expired(db, search, limit) if has_expired_tasks else search(limit)
    if db.lanes.any_limited and limited:
        number = min(limit, limited)
        return limit_search.with_limited(
            db, ids, tags, kinds, limit, number, aging, moving=bool(moving), expiring=bool(has_expired_tasks)
        )
    return ids


def available(db: Database, task: FoundTask) -> AvailableTask:
    """Return the public record of a found task, without the task's options."""
    _, instance_id, task_id, data, definition_hash, lane, priority, attempts, _, _ = task
    kind, tags, _ = db.lanes.lane_of(db, lane)
    return make_available(
        instance_id, task_id, data or b"", definition_hash, kind, priority, tags, attempts + 1, NO_METADATA, None
    )


def add_options(
    db: Database, tasks: Sequence[FoundTask], records: list[AvailableTask], *, claimed: bool = False
) -> None:
    """Replace the record of each task that has options by a record with these options. ``claimed``: true if the tasks
    have just been claimed, so that they can't expire any more."""
    ids = [task[ID] for task in tasks if db.lanes.lane_of(db, task[LANE])[2] & HAS_OPTIONS]
    given = options.of_tasks(db, ids) if ids else {}
    if claimed and any(row.expiring is not None for row in given.values()):
        expiry.clear(db, ids)
    for index, task in enumerate(tasks):
        if (row := given.get(task[ID])) is not None:
            timeout = None if row.timeout is None else row.timeout / 1e6
            records[index] = replace(records[index], metadata=options.metadata_of(db, row), timeout=timeout)


def find_available(
    db: Database, worker_id: str, *, limit: int, tags: Tags, kinds: Kinds, may_sweep: bool
) -> list[AvailableTask] | None:
    """Return a page of tasks that this worker could claim. ``None``: the caller must run the sweep first."""
    state = sweep.sweep_state(db)
    if may_sweep and sweep.is_needed(db, state):
        return None
    tasks = find(db, worker_id, limit, tags, kinds, state, limit)
    if not tasks and may_sweep and sweep.has_deferrable_work(state):
        return None
    records = [available(db, task) for task in tasks]
    if db.lanes.any_options:
        add_options(db, tasks, records)
    return records


def any_available(db: Database, *, tags: Tags, kinds: Kinds, may_sweep: bool) -> bool | None:
    """Return whether a worker with these tags and kinds could claim a task. ``None``: the caller must run the sweep
    first."""
    state = sweep.sweep_state(db)
    if may_sweep and sweep.is_needed(db, state):
        return None
    _, lanes_version, _, _, _, _, _ = state
    db.lanes.refresh(db, lanes_version)
    is_any = bool(_ready_ids(db, tags, kinds, 1, state, 1))
    return None if not is_any and may_sweep and sweep.has_deferrable_work(state) else is_any


def seconds_until_next(db: Database, *, tags: Tags, kinds: Kinds) -> float:
    """Return the seconds until a matching task becomes due or its claim expires; ``inf`` if there is no such task."""
    db.lanes.refresh(db, db.value(sql.lanes_version))
    lanes = db.lanes.to_visit(db, tags, kinds, paused=False)
    tick_us = math.inf if db.next_tick is None else db.next_tick - db.time.wall
    # A tick in the past is a tick that this process has left for a later call.
    tick_s = tick_us / 1e6 if tick_us > 0 else math.inf
    limited = db.lanes.select_limited(tags, kinds) if db.lanes.any_limited else None
    if not lanes and not limited:
        return tick_s
    now = db.time.now
    positions = [db.value(sql.next_position, apsw.carray(lanes), now)] if lanes else []
    if limited:
        positions.append(db.value(sql.next_head, apsw.carray(limited), now))
    due_wall = db.value(sql.next_due)
    spans_us = [
        *(math.inf if position is None else position - now for position in positions),
        math.inf if due_wall is None else due_wall - db.time.wall,
    ]
    return min(tick_s, max(0, min(spans_us)) / 1e6)


def _ring_for_short_lease(db: Database, ttl_us: int | None) -> None:
    """Wake waiting workers if a claim will expire before their next search. Workers then sleep until this expiry."""
    if ttl_us is not None and ttl_us < SHORT_US:
        db.ring()


def claim_available(
    db: Database,
    *,
    worker_id: str,
    limit: int,
    ttl_us: int | None,
    tags: Tags,
    kinds: Kinds,
    session_id: int | None,
    limited: int,
    may_add_ticks: bool = True,
) -> list[ClaimedTask] | None:
    """Find tasks and claim them. ``None``: the caller must add due ticks or run the sweep again before the search."""
    state = sweep.sweep_state(db)
    next_tick = state[NEXT_TICK]
    if next_tick is not None and may_add_ticks and sweep.ticks_are_due(db, next_tick):
        return None
    tasks = None if sweep.is_needed(db, state) else find(db, worker_id, limit, tags, kinds, state, limited)
    if tasks is None or (not tasks and sweep.has_deferrable_work(state)):
        if sweep.sweep(db):
            return None
        tasks = find(db, worker_id, limit, tags, kinds, sweep.sweep_state(db), limited)
    if not tasks:
        return []
    now, wall, floor = db.time.now, db.time.wall, db.time.token_floor
    lease = None if ttl_us is None else now + ttl_us
    expires = None if ttl_us is None else wall + ttl_us
    _ring_for_short_lease(db, ttl_us)
    if db.lanes.any_limited:
        limits.take_slots(db, [(task[ID], task[LANE]) for task in tasks])
    if len(tasks) == 1:
        if abs(tasks[0][LANE]) > CLAIMED_SIDE:
            record_lost_attempts(db, [tasks[0][ID]])
        db.execute(sql.claim_one, (tasks[0][ID], floor, lease, worker_id, session_id, wall, expires))
    else:
        taken_over = [task[ID] for task in tasks if abs(task[LANE]) > CLAIMED_SIDE]
        if taken_over:
            record_lost_attempts(db, taken_over)
        ids = apsw.carray(array("q", [task[ID] for task in tasks]))
        db.execute(sql.claim_many, (ids, floor, lease, worker_id, session_id, wall, expires))
    make = claim_maker(db, worker_id, wall=wall, ttl_us=ttl_us)
    claims = []
    records = []
    for task in tasks:
        id, instance_id, task_id, _, _, _, _, _, _, token = task
        token = token + 1 if token > floor else floor + 1
        records.append(available(db, task))
        claims.append(make(instance_id, task_id, token, id))
    if db.lanes.any_options:
        add_options(db, tasks, records, claimed=True)
    return list(map(make_claimed, records, claims))


# The caller has already added a bounded number of ticks.
claim_leaving_ticks = partial(claim_available, may_add_ticks=False)


def record_lost_attempts(db: Database, ids: list[int]) -> None:
    """Record the losses of the expired claims of these tasks, before the tasks are claimed again."""
    db.execute(sql.add_lost_attempts, (apsw.carray(array("q", ids)), db.time.wall, attempts.EXPIRED))
    for id in ids:
        db.execute(sql.drop_oldest_attempt, (id,))


def claim_maker(
    db: Database, worker_id: str, wall: int, ttl_us: int | None
) -> Callable[[str, str, int, int], TaskClaim]:
    """Return a function that creates a claim of this worker from the instance id, task id, token and row."""
    claimed_at = wall / 1e6
    clock = db.time.clock
    expires_at = None if ttl_us is None else (wall + ttl_us) / 1e6
    ends = None if ttl_us is None else db.time.awake(db.time.now + ttl_us)
    return lambda instance_id, task_id, token, row: make_claim(
        instance_id, task_id, worker_id, claimed_at, expires_at, token, ends, clock, row
    )


def _by_name(db: Database, *, instance_id: str, task_id: str) -> NamedTask:
    tasks = db.rows(sql.task_by_name, instance_id, task_id)
    if not tasks:
        raise NotFoundError(
            f"there is no task {task_id!r} in instance {instance_id!r}", instance_id=instance_id, task_id=task_id
        )
    return tasks[0]


def claim_task(
    db: Database, *, instance_id: str, task_id: str, worker_id: str, ttl_us: int | None, session_id: int | None
) -> TaskClaim | None:
    """Claim one task by name; return ``None`` if the task can't be claimed now."""
    task = _by_name(db, instance_id=instance_id, task_id=task_id)
    if task.instance_state in (InstanceCode.IN_PROGRESS, InstanceCode.PAUSED) and sweep.sweep_task(db, task):
        task = _by_name(db, instance_id=instance_id, task_id=task_id)
    id, instance_state, state, next_at, lease_expires, token, losses, max_lost, _, _, _, _, lane = task
    now, wall = db.time.now, db.time.wall
    if instance_state != InstanceCode.IN_PROGRESS:
        return None
    if state == TaskCode.CLAIMED:
        if lease_expires is None or lease_expires > now:
            return None
        if losses + 1 >= max_lost:
            sweep.record_loss(db, id, attempts.EXPIRED)
            return None
    elif state != TaskCode.WAITING or next_at is None or next_at > now:
        return None
    if is_limited(lane):
        if not capacity(db, db.lanes.partition_of(db, lane)).free:
            return None
        limits.take_slots(db, [(id, lane)])
    if state == TaskCode.CLAIMED:
        record_lost_attempts(db, [id])
    lease = None if ttl_us is None else now + ttl_us
    expires = None if ttl_us is None else wall + ttl_us
    floor = db.time.token_floor
    db.execute(sql.claim_one, (id, floor, lease, worker_id, session_id, wall, expires))
    if db.lanes.lane_of(db, lane)[2] & HAS_OPTIONS:
        expiry.clear(db, [id])
    _ring_for_short_lease(db, ttl_us)
    return claim_maker(db, worker_id, wall=wall, ttl_us=ttl_us)(instance_id, task_id, max(token, floor) + 1, id)


def require_held_by_worker(db: Database, *, instance_id: str, task_id: str, worker_id: str) -> NamedTask:
    """Return a task that this worker holds; raise an error if no worker or a different worker holds the task."""
    tasks = db.rows(sql.task_by_name, instance_id, task_id)
    if not tasks or tasks[0].state != TaskCode.CLAIMED or tasks[0].instance_state == InstanceCode.CANCELLED:
        raise NotFoundError(
            f"nobody holds a claim on task {task_id!r} of instance {instance_id!r}",
            instance_id=instance_id,
            task_id=task_id,
        )
    task = tasks[0]
    if task.worker != worker_id:
        raise ClaimLostError(
            f"task {task_id!r} of instance {instance_id!r} is held by {task.worker!r}, not by {worker_id!r}",
            instance_id=instance_id,
            task_id=task_id,
        )
    return task


def release_by_worker(db: Database, *, instance_id: str, task_id: str, worker_id: str) -> None:
    """Release a task that this worker holds."""
    task = require_held_by_worker(db, instance_id=instance_id, task_id=task_id, worker_id=worker_id)
    release(db, task.id, task.lane, delay_us=None)


def extend_by_worker(db: Database, *, instance_id: str, task_id: str, worker_id: str, additional_us: int) -> bool:
    """Add to the expiry of a claim; return ``False`` if the new expiry would be later than ``WALL_US_MAX``."""
    task = require_held_by_worker(db, instance_id=instance_id, task_id=task_id, worker_id=worker_id)
    if task.lease_expires is None:
        return True
    if task.expires_wall + additional_us > WALL_US_MAX:
        return False
    if task.lease_expires <= db.time.now:
        db.limits.touch(db, task.lane)
    db.execute(sql.set_expiry, (task.id, task.lease_expires + additional_us, task.expires_wall + additional_us))
    return True


def held_tasks(db: Database, claims: Iterable[TaskClaim]) -> list[HeldTask | None]:
    """Return the task of each claim, or ``None`` for a claim that is not held any more.

    The row number in a claim only saves a search by name. The claim is held if the claim's names and token match a
    claimed task.
    """
    claims = list(claims)
    by_id: dict[int, HeldTask] = {}
    if claims:
        hints = apsw.carray(array("q", [claim._row for claim in claims]))
        by_id = {task[ID]: task for task in db.rows(sql.claims_by_row, hints)}
    return [verify(db, claim, by_id.get(claim._row)) for claim in claims]


def verify(db: Database, claim: TaskClaim, task: HeldTask | None) -> HeldTask | None:
    """Return the task that a claim names if the claim is held, else ``None``. ``task``: the task in the claim's row."""
    if task is not None:
        _, instance_id, task_id, token, state, instance_state, _, _, _, _, _, _, _, _, _ = task
    if task is None or instance_id != claim.instance_id or task_id != claim.task_id:
        # The claim object was created by hand or belongs to a different file, so its fields have not been checked yet.
        tasks = db.rows(sql.claim_by_name, *claim_names(claim))
        if not tasks:
            return None
        task = tasks[0]
        _, _, _, token, state, instance_state, _, _, _, _, _, _, _, _, _ = task
    if token != claim.token or state != _CLAIMED or instance_state == _CANCELLED:
        return None
    return task


def require_held(db: Database, claim: TaskClaim) -> HeldTask:
    """Return the claim's task; raise ``ClaimLostError`` if the claim is not held any more."""
    tasks = db.rows(sql.claim_by_row, claim._row)
    task = verify(db, claim, tasks[0] if tasks else None)
    if task is None:
        raise ClaimLostError(
            f"the claim of {claim.worker_id!r} on task {claim.task_id!r} of instance {claim.instance_id!r} "
            f"(token {claim.token}) was settled, taken over or cancelled",
            instance_id=claim.instance_id,
            task_id=claim.task_id,
        )
    return task


def renew(db: Database, claim: TaskClaim, task: HeldTask, *, ttl_us: int | None) -> TaskClaim:
    """Set the claim's expiry to ``ttl_us`` from now; return the renewed claim."""
    _ring_for_short_lease(db, ttl_us)
    id, _, _, _, _, _, _, _, _, _, _, worker, started_wall, _, lane = task
    now, wall = db.time.now, db.time.wall
    lease = None if ttl_us is None else now + ttl_us
    expires = None if ttl_us is None else wall + ttl_us
    if is_limited(lane):
        limits.note_renewal(db, id, lane, lease)
    db.execute(sql.set_expiry, (id, lease, expires))
    return TaskClaim(
        claim.instance_id,
        claim.task_id,
        worker,
        started_wall / 1e6,
        None if expires is None else expires / 1e6,
        claim.token,
        None if lease is None else db.time.awake(lease),
        db.time.clock,
        id,
    )


def release(db: Database, id: int, lane: int, *, delay_us: int | None) -> None:
    """Release a task to its old position or, with a delay, to the position ``delay_us`` from now."""
    db.ring()
    db.limits.touch(db, lane)
    db.execute(sql.release, (id, None if delay_us is None else db.time.now + delay_us))
