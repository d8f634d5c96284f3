"""The rows that statements return. There is one class for each list of columns.

``statements.py`` declares the row class of each statement. The fields of a class have the names and the order of the
statement's columns. ``id`` and ``instance`` are row numbers in the file; ``instance_id`` and ``task_id`` are the public
names.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# The row types in this section are plain tuples, because claims, renewals and searches use these rows. The code unpacks
# these tuples into the variable names that are listed below. With objects that have attributes, a search would be 10 %
# slower, a renewal 5 % slower, and a claim 2 % slower.

# aging, lanes_version, moving, has_expired_last_claims, has_due_tasks, next_tick, has_expired_tasks: the data that a
# search for work needs, and whether a sweep has work to do.
SweepState = tuple[int | None, int, int, int, int, int | None, int]
# The index of a column of SweepState.
NEXT_TICK: Final = 5

# id, instance_id, task_id, input, definition_hash, lane, priority, attempts, failed_worker, token: the columns of a
# task that a search for work has found. failed_worker: the worker that reported the task's latest failure.
FoundTask = tuple[int, str, str, bytes | None, str, int, int, int, str | None, int]

# id, instance_id, task_id, token, state, instance_state, instance, failures, max_attempts, policy, losses, worker,
# started_wall, followers, lane: the columns of the task that a claim refers to. followers: a sum of 1 if other tasks
# depend on the task, and 2 if the task has a checkpoint.
HeldTask = tuple[int, str, str, int, int, int, int, int, int, int, int, str, int, int, int]

# The index of the row id in FoundTask and HeldTask, and the indices of lane and failed_worker in FoundTask, and of
# lane in HeldTask.
ID: Final = 0
LANE: Final = 5
HELD_LANE: Final = 14
FAILED_WORKER: Final = 8


class LaneRow(NamedTuple):
    """A lane. ``instance``: the instance that an own lane belongs to; 0 for a shared lane."""

    id: int
    kind: str
    tags: str
    instance: int
    instance_state: int | None
    traits: int


class NamedTask(NamedTuple):
    """A task that a caller claims, releases or extends by the task's name."""

    id: int
    instance_state: int
    state: int
    next_at: int | None
    lease_expires: int | None
    token: int
    losses: int
    max_lost: int
    worker: str | None
    session: int | None
    due_wall: int | None
    expires_wall: int  # NULL in the file if and only if lease_expires is NULL
    lane: int


class LosingTask(NamedTuple):
    """A task whose claim is to be recorded as lost."""

    instance: int
    instance_state: int
    losses: int
    max_lost: int
    state: int
    lane: int


class DueTask(NamedTuple):
    """A task whose ``available_at`` has been reached."""

    id: int
    due_wall: int
    lane: int


class StrayTask(NamedTuple):
    """A claimable task that is on the paused side of its lane although its instance was resumed."""

    id: int
    priority: int
    next_at: int
    lane: int


class TaskPosition(NamedTuple):
    """A task, with the columns that decide its position."""

    id: int
    priority: int
    next_at: int


class StoredTask(NamedTuple):
    """A task that a new task depends on. ``expiring``: the wall-clock time at which the task expires if it was never
    claimed, else ``None``."""

    id: int
    state: int
    expiring: int | None


class KeyBearer(NamedTuple):
    """The open task that has a unique key. ``expiring``: see ``StoredTask``."""

    id: int
    instance_id: str
    task_id: str
    expiring: int | None


class TaskAndInstance(NamedTuple):
    """A task and the row of its instance."""

    id: int
    instance: int
    state: int
    instance_state: int
    lane: int


class PartitionRule(NamedTuple):
    """The rule of a partition, and the time of its next check. All bounds are ``None`` if there is no rule."""

    check_at: int | None
    concurrency: int | None
    rate: int | None
    period: int | None


class Head(NamedTuple):
    """The first task of one side of a queue, at one priority."""

    side: int
    priority: int
    next_at: int
    lane: int


class LimitRow(NamedTuple):
    """A limit. ``period``: in microseconds."""

    name: str
    concurrency: int | None
    rate: int | None
    period: int | None


class LimitCounts(NamedTuple):
    """The number of tasks of a limit that are running and ready, and the number of partitions with such tasks."""

    running: int
    waiting: int
    partitions: int


class ListedTask(NamedTuple):
    """A task that may belong in the result of a list call. ``page_end``: the start of the next page, if this row is the
    last of its page."""

    id: int
    page_end: int | str
    instance: int
    state: int
    lane: int
    next_at: int | None
    due_wall: int | None


class TaskRow(NamedTuple):
    """All data of a task."""

    id: int
    instance_id: str
    task_id: str
    input: bytes | None
    definition_hash: str
    lane: int
    priority: int
    delay: int | None
    due_wall: int | None
    max_attempts: int
    max_lost: int
    policy: int
    state: int
    instance_state: int
    position: int
    next_at: int | None
    attempts: int
    failures: int
    losses: int
    output: bytes | None
    error: str | None
    worker: str | None
    token: int
    lease_expires: int | None
    started_wall: int | None
    expires_wall: int | None
    added_wall: int
    finished_wall: int | None
    instance_finished_wall: int | None
    done: float | None
    total: float | None
    note: str | None
    reported_wall: int | None
    checkpoint: bytes | None


class OptionsRow(NamedTuple):
    """The options of a task. ``metadata``: a JSON object."""

    task: int
    unique_key: str | None
    metadata: str | None
    timeout: int | None
    expires_wall: int | None
    expiring: int | None


class AttemptRow(NamedTuple):
    """An attempt that ended without completion. ``outcome``: see ``AttemptCode``."""

    attempt: int
    worker: str
    started_wall: int
    ended_wall: int
    outcome: int
    error: str
    detail: bytes


class ClaimRow(NamedTuple):
    """A claim."""

    id: int
    instance_id: str
    task_id: str
    worker: str
    started_wall: int
    expires_wall: int | None
    token: int
    lease_expires: int | None


class InstanceHead(NamedTuple):
    """An instance that tasks are to be added to."""

    id: int
    state: int
    total: int


class ControlledInstance(NamedTuple):
    """An instance that is to be paused, resumed or cancelled. ``moving``: see ``MovingInstance``; ``None`` if the
    instance is not moving."""

    id: int
    state: int
    moving: str | None


class MovingInstance(NamedTuple):
    """An instance whose task rows are being updated after a pause, resume or cancel. The rows of the tasks up to the
    name ``moving`` are up to date."""

    id: int
    state: int
    moving: str
    finished_wall: int | None


class InstanceRow(NamedTuple):
    """All data of an instance."""

    id: int
    name: str
    state: int
    definition_hash: str
    reason: str | None
    total: int
    blocked: int
    completed: int
    failed: int
    cancelled: int
    added_wall: int
    finished_wall: int | None


class Totals(NamedTuple):
    """Counts of tasks: the total, and the number of tasks in each state that the file counts."""

    total: int
    blocked: int
    completed: int
    failed: int
    cancelled: int


class EndedInstance(NamedTuple):
    """An instance that has ended, and the time of its end."""

    id: int
    finished_wall: int


class WorkerRow(NamedTuple):
    """A worker's session, and the number of claims that belong to the session."""

    id: int
    worker: str
    pid: int
    started_wall: int
    claims: int


class StoredSchedule(NamedTuple):
    """A row of claims_schedules."""

    id: int
    name: str
    timing: str
    task: str
    input: bytes | None
    catch_up: int
    definition_hash: str
    next_wall: int | None
    last_wall: int | None
    seen_wall: int
    paused: int
