"""Adding instances and tasks. A call checks all its tasks before it writes any task, so the call adds either all tasks
or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from ...errors import AlreadyExistsError, InvalidStateError, NotFoundError
from ...graph import unknown_dependency
from ...model import DEFAULT_RETRY, NewTask, RetryPolicy, TaskRef
from ...task_batch import TaskBatch
from ...validate import duration_us
from ..codes import HAS_OPTIONS, IS_LIMITED, InstanceCode, TaskCode
from ..database import Database
from ..lanes import Lane
from ..rows import StoredTask
from ..statements import sql
from ..times import wall_us
from . import expiry, options, unique_keys

# The id of the default retry policy. Every file contains this policy.
_DEFAULT_POLICY = 1
# Once an instance has this number of tasks, all tasks that are added to the instance later get own lanes. A smaller
# instance uses the shared lanes. When a smaller instance is paused or cancelled, its tasks leave the shared lanes in
# short steps. Until then each search for work skips these tasks one by one, which takes a few milliseconds.
OWN_LANES_FROM = 5_000


def add_instance(
    db: Database, instance_id: str, tasks: Sequence[NewTask], *, definition_hash: str, skip_existing: bool
) -> bool:
    """Add an instance and its tasks.

    If the instance exists already, return ``False`` if ``skip_existing`` is true, else raise ``AlreadyExistsError``.
    """
    if db.rows(sql.instance_by_name, instance_id):
        if skip_existing:
            return False
        raise AlreadyExistsError(f"there is already an instance {instance_id!r}", instance_id=instance_id)
    given = bool(tasks)
    tasks = unique_keys.without_taken(db, instance_id, tasks, skip_taken=skip_existing)
    if given and not tasks:
        return False
    id = db.value(sql.add_instance, instance_id, definition_hash, db.time.wall)
    _add(db, id, tasks, {}, 0, paused=False)
    return True


def enqueue(db: Database, instance_id: str, task: NewTask, *, skip_existing: bool) -> TaskRef:
    """Add a task in an instance of its own; return its names.

    ``skip_existing``: if the instance has a task of this name already, or if an open task has the unique key, add
    nothing and return the names of that task.
    """
    ref = TaskRef(instance_id, task.task_id)
    if skip_existing:
        if db.rows(sql.task_by_name, *ref):
            return ref
        if task.unique_key is not None and (bearer := unique_keys.bearer(db, task.unique_key)) is not None:
            return TaskRef(bearer.instance_id, bearer.task_id)
    add_instance(db, instance_id, [task], definition_hash="", skip_existing=False)
    return ref


def add_tasks(db: Database, instance_id: str, tasks: Sequence[NewTask], *, skip_existing: bool) -> int:
    """Add tasks to a stored instance; return their number. ``skip_existing``: leave out tasks that already exist."""
    rows = db.rows(sql.instance_by_name, instance_id)
    if not rows:
        raise NotFoundError(f"there is no instance {instance_id!r}", instance_id=instance_id)
    id, state, total = rows[0]
    if state == InstanceCode.CANCELLED:
        raise InvalidStateError(f"instance {instance_id!r} is cancelled", instance_id=instance_id)
    if not tasks:
        return 0
    stored = {name for (name,) in db.rows(sql.stored_names, id, apsw.carray(tuple(_names(tasks))))}
    if stored and not skip_existing:
        raise AlreadyExistsError(
            f"instance {instance_id!r} already has a task {min(stored)!r}", instance_id=instance_id, task_id=min(stored)
        )
    is_batch = isinstance(tasks, TaskBatch)
    new = _without(tasks, stored) if stored else tasks
    if not is_batch and any(task.unique_key is not None for task in new):
        new = unique_keys.without_taken(db, instance_id, new, skip_taken=skip_existing)
        # If a task that had the key has expired, its instance may have ended.
        _, state, total = db.rows(sql.instance_by_name, instance_id)[0]
    known = {} if is_batch else _stored_dependencies(db, id, instance_id, new)
    if new:
        _add(db, id, new, known, total, paused=state == InstanceCode.PAUSED)
        if state in (InstanceCode.COMPLETED, InstanceCode.FAILED, InstanceCode.ALL_CANCELLED):
            db.lanes.opened_or_closed(db, id)
    return len(new)


def _names(tasks: Sequence[NewTask]) -> Sequence[str]:
    return tasks.task_ids if isinstance(tasks, TaskBatch) else [task.task_id for task in tasks]


def _without(tasks: Sequence[NewTask], names: set[str]) -> Sequence[NewTask]:
    if isinstance(tasks, TaskBatch):
        return tasks.without(names)
    return [task for task in tasks if task.task_id not in names]


def _stored_dependencies(db: Database, id: int, instance_id: str, new: Sequence[NewTask]) -> dict[str, StoredTask]:
    """Return the stored tasks that new tasks depend on, by name. Raise an error if a new task can't depend on one."""
    own = {task.task_id for task in new}
    known: dict[str, StoredTask] = {}
    for task in new:
        for name in task.depends_on:
            if name not in own and name not in known:
                found = db.rows(sql.stored_dependency, id, name)
                if found and (
                    found[0].state in (TaskCode.FAILED, TaskCode.CANCELLED) or expiry.is_due(db, found[0].expiring)
                ):
                    raise InvalidStateError(
                        f"task {task.task_id!r} depends on {name!r}, which has failed or was cancelled",
                        instance_id=instance_id,
                        task_id=task.task_id,
                    )
                if not found:
                    raise unknown_dependency(task.task_id, name)
                known[name] = found[0]
    return known


def _add(
    db: Database,
    instance: int,
    tasks: Sequence[NewTask],
    known: dict[str, StoredTask],
    total: int,
    *,
    paused: bool,
) -> None:
    own_lanes_of = instance if total + len(tasks) >= OWN_LANES_FROM else 0
    if isinstance(tasks, TaskBatch):
        _add_batch(db, instance, tasks, own_lanes_of, paused=paused)
        return
    now, wall = db.time.now, db.time.wall
    token = db.value(sql.meta_token_floor)
    first = (db.value(sql.newest_task) or 0) + 1
    ids = {task.task_id: id for id, task in enumerate(tasks, first)}
    policies: dict[RetryPolicy, int] = {DEFAULT_RETRY: _DEFAULT_POLICY}
    lanes: dict[tuple[Any, Any, int, str | None], int] = {}
    rows: list[tuple[Any, ...]] = []
    inputs: list[tuple[int, bytes]] = []
    edges: list[tuple[int, int]] = []
    with_options: list[tuple[int, NewTask]] = []
    blocked = 0
    for id, task in enumerate(tasks, first):
        traits = 0
        if task.has_rare_options():
            traits = HAS_OPTIONS
            with_options.append((id, task))
        key = task.kind, task.tags, traits, task.limit
        lane = lanes.get(key)
        if lane is None:
            lane = lanes[key] = _lane(db, task, traits, own_lanes_of) * (-1 if paused else 1)
            db.limits.touch(db, lane)
        policy = policies.get(task.retry)
        if policy is None:
            policy = policies[task.retry] = _policy(db, task.retry)
        if task.input is not None:
            inputs.append((id, task.input))
        open_deps = 0
        source = None
        if task.depends_on:
            needs = [
                StoredTask(ids[name], TaskCode.BLOCKED, None) if name in ids else known[name]
                for name in task.depends_on
            ]
            open_deps = sum(needed.state != TaskCode.COMPLETED for needed in needs)
            edges.extend((id, needed.id) for needed in needs)
            if len(needs) == 1 and task.input is None:
                source = needs[0].id
        delay = None if task.delay is None else duration_us("delay", task.delay)
        due = None if task.available_at is None else wall_us(task.available_at)
        position = now + (delay or 0)
        if open_deps:
            state, next_at = TaskCode.BLOCKED, None
            blocked += 1
        else:
            state, next_at = TaskCode.WAITING, None if due is not None and due > wall else position
        rows.append(
            (id, instance, task.task_id, lane, task.priority, state, position, next_at, token, task.max_attempts,
             task.max_lost, policy, open_deps, wall, delay, due, source)
        )  # fmt: skip
    if not rows:
        return
    db.executemany(sql.add_task, rows)
    db.ring()
    if inputs:
        db.executemany(sql.add_input, inputs)
    if edges:
        db.executemany(sql.add_dependency, edges)
    if with_options:
        options.add(db, with_options)
    db.execute(sql.count_added, (instance, len(rows), blocked))


def _add_batch(db: Database, instance: int, batch: TaskBatch, own_lanes_of: int, *, paused: bool) -> None:
    """Add the tasks of a batch, which have no dependencies."""
    if not batch.task_ids:
        return
    task, now, wall = batch.template, db.time.now, db.time.wall
    has_options = task.has_rare_options()
    lane = _lane(db, task, HAS_OPTIONS if has_options else 0, own_lanes_of) * (-1 if paused else 1)
    db.limits.touch(db, lane)
    policy = _DEFAULT_POLICY if task.retry == DEFAULT_RETRY else _policy(db, task.retry)
    token = db.value(sql.meta_token_floor)
    first = (db.value(sql.newest_task) or 0) + 1
    delay = None if task.delay is None else duration_us("delay", task.delay)
    due = None if task.available_at is None else wall_us(task.available_at)
    position = now + (delay or 0)
    next_at = None if due is not None and due > wall else position
    constant = (
        lane, task.priority, TaskCode.WAITING, position, next_at, token, task.max_attempts, task.max_lost, policy, 0,
        wall, delay, due, None,
    )  # fmt: skip
    db.executemany(sql.add_task, ((id, instance, name, *constant) for id, name in enumerate(batch.task_ids, first)))
    db.ring()
    if batch.inputs is not None:
        inputs = ((id, data) for id, data in enumerate(batch.inputs, first) if data is not None)
        db.executemany(sql.add_input, inputs)
    if has_options:
        options.add(db, ((id, task) for id in range(first, first + len(batch))))
    db.execute(sql.count_added, (instance, len(batch), 0))


def _lane(db: Database, task: NewTask, traits: int, own_lanes_of: int) -> int:
    """Return the lane of a new task, or its queue if the task has a limit. Queues belong to shared lanes."""
    kind, tags = task.kind or "", tuple(task.tags)
    if task.limit is None:
        return db.lanes.intern(db, Lane(kind, tags, traits), own_lanes_of)
    return db.lanes.intern_queue(db, task.limit, db.lanes.intern(db, Lane(kind, tags, traits | IS_LIMITED), 0))


def _policy(db: Database, retry: RetryPolicy) -> int:
    values = (retry.initial_delay, retry.multiplier, retry.max_delay, retry.jitter)
    rows = db.rows(sql.policy_id, *values) or db.rows(sql.add_policy, *values)
    return rows[0][0]
