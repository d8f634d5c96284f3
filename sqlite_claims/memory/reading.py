"""Functions that build the public records from an engine's state. These functions never change the state."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from ..explain import explain
from ..model import (
    AvailableTask,
    Duration,
    InstanceInfo,
    LimitInfo,
    StoreStats,
    TaskClaim,
    TaskInfo,
    TaskState,
    WorkerInfo,
)
from ..schedules import ScheduleInfo
from .engine import Engine
from .records import Schedule, Session, Task

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(wall_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=wall_us)


def _moment_or_none(wall_us: int | None) -> datetime | None:
    return None if wall_us is None else moment(wall_us)


def waits_us(engine: Engine, task: Task) -> int:
    """Return the time until an unclaimed task is available; negative if the task became available earlier."""
    if task.place is None:
        return (task.due_wall or 0) - engine.wall
    return task.place - engine.now


def state_of(engine: Engine, task: Task) -> TaskState:
    if task.state is TaskState.READY and waits_us(engine, task) > 0:
        return TaskState.SCHEDULED
    return task.state


def effective_input(engine: Engine, task: Task) -> bytes:
    if task.spec.input is not None:
        return task.spec.input
    if len(task.depends_on) == 1:
        return engine.state.tasks[task.instance_id, task.depends_on[0]].output or b""
    return b""


def claim_of(engine: Engine, task: Task) -> TaskClaim:
    ends = None if task.expires is None else engine.clock.awake_us() + task.expires - engine.now
    return TaskClaim(
        task.instance_id,
        task.spec.task_id,
        task.worker_id or "",
        (task.started_wall or 0) / 1e6,
        None if task.expires_wall is None else task.expires_wall / 1e6,
        task.token,
        _ends_us=ends,
        _clock=engine.clock,
    )


def available_task(engine: Engine, task: Task, attempt: int) -> AvailableTask:
    return AvailableTask(
        task.instance_id,
        task.spec.task_id,
        effective_input(engine, task),
        engine.state.instances[task.instance_id].definition_hash,
        task.spec.kind or "",
        task.spec.priority,
        tuple(task.spec.tags),
        attempt,
        metadata=dict(task.spec.metadata or {}),
        timeout=_seconds_or_none(task.spec.timeout),
    )


def task_info(engine: Engine, task: Task) -> TaskInfo:
    spec = task.spec
    return TaskInfo(
        instance_id=task.instance_id,
        task_id=spec.task_id,
        input=effective_input(engine, task),
        workflow_definition_hash=engine.state.instances[task.instance_id].definition_hash,
        kind=spec.kind or "",
        priority=spec.priority,
        tags=tuple(spec.tags),
        depends_on=task.depends_on,
        delay=spec.delay if isinstance(spec.delay, float) else None,
        available_at=_moment_or_none(task.due_wall),
        max_attempts=spec.max_attempts,
        max_lost=spec.max_lost,
        retry=spec.retry,
        limit=spec.limit,
        state=state_of(engine, task),
        attempts=task.attempts,
        failures=task.failures,
        losses=task.losses,
        output=task.output,
        error=task.error,
        worker_id=task.worker_id,
        claim=claim_of(engine, task) if task.state is TaskState.CLAIMED else None,
        added_at=moment(task.added_wall),
        started_at=_moment_or_none(task.started_wall),
        finished_at=_moment_or_none(task.finished_wall),
        progress=task.progress,
        checkpoint=task.checkpoint,
        unique_key=spec.unique_key,
        metadata=dict(spec.metadata or {}),
        timeout=_seconds_or_none(spec.timeout),
        expires_at=spec.expires_at,
    )


def _seconds_or_none(seconds: Duration | None) -> float | None:
    return seconds if isinstance(seconds, float) else None  # a ``NewTask`` contains seconds


def instance_info(engine: Engine, instance_id: str) -> InstanceInfo:
    instance = engine.instance(instance_id)
    counts = dict.fromkeys(TaskState, 0)
    for task in engine.state.members_of(instance_id):
        counts[state_of(engine, task)] += 1
    return InstanceInfo(
        instance_id=instance_id,
        state=instance.state,
        counts=counts,
        definition_hash=instance.definition_hash,
        reason=instance.reason,
        added_at=moment(instance.added_wall),
        finished_at=_moment_or_none(instance.finished_wall),
        sealed=instance.sealed,
    )


def worker_info(engine: Engine, session: Session) -> WorkerInfo:
    claims = sum(engine.state.tasks[key].session == session.id for key in engine.state.held)
    return WorkerInfo(
        session.worker_id, os.getpid(), moment(session.started_wall), session.id not in engine.dead_sessions, claims
    )


def stats(engine: Engine) -> StoreStats:
    counts = dict.fromkeys(TaskState, 0)
    live_claims = 0
    ages = []
    for task in engine.state.tasks.values():
        shown = state_of(engine, task)
        counts[shown] += 1
        if shown is TaskState.CLAIMED and (task.expires is None or task.expires > engine.now):
            live_claims += 1
        elif not engine.is_in_progress(task) or engine.free_slots(task) == 0:
            continue
        elif shown is TaskState.READY:
            ages.append(-waits_us(engine, task))
        elif engine.can_be_claimed(task) and task.expires is not None:
            ages.append(engine.now - task.expires)
    return StoreStats(counts, live_claims, max(ages) / 1e6 if ages else None)


def limit_info(engine: Engine, name: str) -> LimitInfo:
    rule = engine.state.rules[name]
    tasks = [task for task in engine.state.tasks.values() if (task.spec.limit or "").partition(":")[0] == name]
    states = [state_of(engine, task) for task in tasks]
    return LimitInfo(
        name,
        rule.concurrency,
        None if rule.rate is None else (rule.rate, rule.period / 1e6),
        sum(task.state is TaskState.CLAIMED and not engine.has_expired(task) for task in tasks),
        states.count(TaskState.READY),
        len({task.spec.limit for task in tasks if task.place is not None and not task.state.has_ended}),
    )


def explanation(engine: Engine, task: Task) -> str:
    info = task_info(engine, task)
    stands_in_the_way = set(TaskState) - {TaskState.COMPLETED}
    if info.state is TaskState.CANCELLED:
        stands_in_the_way = {TaskState.FAILED, TaskState.CANCELLED}
    waits = waits_us(engine, task) / 1e6
    return explain(
        info,
        instance_info(engine, task.instance_id),
        unmet=[
            name for name in task.depends_on if engine.state.tasks[task.instance_id, name].state in stands_in_the_way
        ],
        due_in_s=max(0.0, waits),
        waited_s=max(0.0, -waits),
        is_last_claim=task.is_last_claim,
        is_holder_gone=task.session in engine.dead_sessions,
        open_sessions=len(engine.state.sessions.keys() - engine.dead_sessions),
        is_limit_full=engine.free_slots(task) == 0,
        wall_us=engine.wall,
    )


def schedule_info(schedule: Schedule) -> ScheduleInfo:
    return ScheduleInfo(
        schedule_id=schedule.schedule_id,
        when=schedule.when,
        task=schedule.task,
        catch_up=schedule.catch_up,
        next_at=_moment_or_none(schedule.next_wall),
        last_at=_moment_or_none(schedule.last_wall),
        paused=schedule.is_paused,
    )
