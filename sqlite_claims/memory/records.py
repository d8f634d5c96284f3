"""The state of an in-memory store: frozen records in dictionaries, and timelines sorted by due time.

Records never change, so a copy of the dictionaries is a snapshot. This module reads no clock and applies no rules.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from ..model import AttemptInfo, InstanceState, NewTask, Progress, TaskState
from ..schedules import CatchUp, Cron, Every

TaskKey = tuple[str, str]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# (time, order of adding, task). A timeline is a sorted list of these entries.
Entry = tuple[int, int, TaskKey]

OPEN_STATES = (TaskState.BLOCKED, TaskState.READY, TaskState.CLAIMED)


@dataclass(frozen=True, slots=True)
class Task:
    """One task. ``state`` is never ``SCHEDULED``: a scheduled task is stored as ``READY`` with a later time."""

    instance_id: str
    spec: NewTask
    seq: int
    token: int
    added_wall: int
    depends_on: tuple[str, ...] = ()
    due_wall: int | None = None
    state: TaskState = TaskState.BLOCKED
    # The task's position, in store time. None while the task is blocked or waits for its ``available_at``.
    place: int | None = None
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    worker_id: str | None = None
    session: int | None = None
    # The expiry of the claim in store time. None: the task has no claim, or its claim never expires.
    expires: int | None = None
    expires_wall: int | None = None
    started_wall: int | None = None
    finished_wall: int | None = None
    # The worker on which the last attempt failed. None if the last attempt did not end as a failure.
    failed_on: str | None = None
    output: bytes | None = None
    error: str | None = None
    ended_attempts: tuple[AttemptInfo, ...] = ()
    # True if a worker has claimed the task at any time. Such a task does not expire.
    was_claimed: bool = False
    # The store time at which the task ended.
    ended: int = 0
    progress: Progress | None = None
    checkpoint: bytes | None = None

    @property
    def key(self) -> TaskKey:
        return (self.instance_id, self.spec.task_id)

    @property
    def expiry_wall(self) -> int | None:
        """The wall-clock time at which the task expires. None: the task can't expire, or not any more."""
        if self.spec.expires_at is None or self.was_claimed or self.state not in (TaskState.BLOCKED, TaskState.READY):
            return None
        return (self.spec.expires_at - _EPOCH) // timedelta(microseconds=1)

    @property
    def is_last_claim(self) -> bool:
        """Return whether the task has one loss left, so that the loss of its claim fails the task."""
        return self.losses + 1 >= self.spec.max_lost


@dataclass(frozen=True, slots=True)
class Instance:
    instance_id: str
    seq: int
    definition_hash: str
    added_wall: int
    state: InstanceState = InstanceState.IN_PROGRESS
    reason: str | None = None
    finished_wall: int | None = None
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """The bounds of a limit. ``period``: microseconds within which ``rate`` claims may start."""

    concurrency: int | None
    rate: int | None
    period: int


@dataclass(frozen=True, slots=True)
class Session:
    id: int
    worker_id: str
    started_wall: int


@dataclass(frozen=True, slots=True)
class Schedule:
    schedule_id: str
    when: Cron | Every
    task: NewTask
    catch_up: CatchUp
    definition_hash: str
    # Times until which all ticks are done, highest first. Each later time is from a clock that was set back.
    done: tuple[int, ...]
    offset: int  # wall clock - store time at the last look at the schedule
    next_wall: int | None
    last_wall: int | None
    is_paused: bool


@dataclass(slots=True)
class State:
    """The complete state of a store."""

    boot_id: str
    boot: int  # the last value read from the boot clock
    slept: int  # the part of boot clock - awake clock by which leases have been prolonged already
    anchor: int = 0  # store time = boot clock + anchor
    token_floor: int = 0
    aging: int | None = None
    next_seq: int = 1
    next_session: int = 1
    tasks: dict[TaskKey, Task] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    # For each instance: its tasks in the order of adding, and the number of its tasks in each state.
    members: dict[str, dict[str, None]] = field(default_factory=dict)
    tally: dict[str, Counter[TaskState]] = field(default_factory=dict)
    dependents: dict[TaskKey, list[str]] = field(default_factory=dict)
    held: dict[TaskKey, None] = field(default_factory=dict)
    # The limits by name, and for each partition the store times of the claims that count for the rate.
    rules: dict[str, Rule] = field(default_factory=dict)
    rated: dict[str, tuple[int, ...]] = field(default_factory=dict)
    # The open task of each unique key.
    bearers: dict[str, TaskKey] = field(default_factory=dict)
    # The timelines. claimable: tasks that can be claimed now, or later when their time comes, with one timeline for
    # each priority, kind and set of tags. by_calendar: tasks that become due by the wall clock. last_claims: last
    # claims, whose expiry fails their task.
    claimable: dict[tuple[int, str, tuple[str, ...]], list[Entry]] = field(default_factory=dict)
    by_calendar: list[Entry] = field(default_factory=list)
    last_claims: list[Entry] = field(default_factory=list)
    # The open tasks that were never claimed and that have an expiry, in the order of the expiries.
    expiring: list[Entry] = field(default_factory=list)

    def copy(self) -> Self:
        """Return a snapshot of the state. Later changes of the state do not affect the snapshot."""
        snapshot = copy(self)
        names = ("tasks", "instances", "sessions", "schedules", "held", "rules", "rated", "bearers")
        for name in (*names, "by_calendar", "last_claims", "expiring"):
            setattr(snapshot, name, getattr(self, name).copy())
        for name in ("members", "tally", "dependents", "claimable"):
            setattr(snapshot, name, {key: value.copy() for key, value in getattr(self, name).items()})
        return snapshot

    def put(self, task: Task) -> None:
        """Store a task. If a task with the same instance and name is stored, replace the stored task."""
        key = task.key
        before = self.tasks.get(key)
        if before is None:
            self.members[task.instance_id][task.spec.task_id] = None
            for name in task.depends_on:
                self.dependents.setdefault((task.instance_id, name), []).append(task.spec.task_id)
        else:
            self._unlist(before)
        self.tasks[key] = task
        self.tally[task.instance_id][task.state] += 1
        if task.state is TaskState.CLAIMED:
            self.held[key] = None
        if task.spec.unique_key is not None and task.state in OPEN_STATES:
            self.bearers[task.spec.unique_key] = key
        if task.expiry_wall is not None:
            insort(self.expiring, (task.expiry_wall, task.seq, key))
        timeline, entry = self._place_of(task)
        if timeline is not None:
            insort(timeline, entry)

    def remove_instance(self, instance_id: str) -> None:
        for name in self.members.pop(instance_id):
            task = self.tasks.pop((instance_id, name))
            self._unlist(task)
            self.dependents.pop(task.key, None)
        del self.tally[instance_id], self.instances[instance_id]

    def members_of(self, instance_id: str) -> Iterator[Task]:
        return (self.tasks[instance_id, name] for name in self.members[instance_id])

    def has_open_tasks(self, instance_id: str) -> bool:
        return any(self.tally[instance_id][state] for state in OPEN_STATES)

    def _unlist(self, task: Task) -> None:
        self.tally[task.instance_id][task.state] -= 1
        self.held.pop(task.key, None)
        if task.spec.unique_key is not None and self.bearers.get(task.spec.unique_key) == task.key:
            del self.bearers[task.spec.unique_key]
        if task.expiry_wall is not None:
            del self.expiring[bisect_left(self.expiring, (task.expiry_wall, task.seq, task.key))]
        timeline, entry = self._place_of(task)
        if timeline is not None:
            del timeline[bisect_left(timeline, entry)]
            lane = _lane(task.spec)
            if not timeline and self.claimable.get(lane) is timeline:
                del self.claimable[lane]

    def _place_of(self, task: Task) -> tuple[list[Entry] | None, Entry]:
        """Return the timeline that a task belongs to, if any, and its entry there."""
        timeline: list[Entry] | None = None
        when: int | None = None
        if task.state is TaskState.READY:
            if task.place is None:
                timeline, when = self.by_calendar, task.due_wall
            else:
                timeline, when = self._claimable_like(task.spec), task.place
        elif task.state is TaskState.CLAIMED and task.expires is not None:
            timeline = self.last_claims if task.is_last_claim else self._claimable_like(task.spec)
            when = task.expires
        return timeline, (when or 0, task.seq, task.key)

    def _claimable_like(self, spec: NewTask) -> list[Entry]:
        return self.claimable.setdefault(_lane(spec), [])

    def damage(self) -> list[str]:
        """Compare the timelines and counters with the records, and return a sentence for each difference."""
        found = []
        everything = sorted(
            self._place_of(task)[1] for task in self.tasks.values() if self._place_of(task)[0] is not None
        )
        timelines = [*self.claimable.values(), self.by_calendar, self.last_claims]
        if everything != sorted(entry for timeline in timelines for entry in timeline):
            found.append("The timelines do not hold exactly the tasks that belong on them.")
        if any(timeline != sorted(timeline) for timeline in timelines):
            found.append("A timeline is out of order.")
        if set(self.held) != {key for key, task in self.tasks.items() if task.state is TaskState.CLAIMED}:
            found.append("The list of held tasks is not that of claimed ones.")
        keys = [(task.spec.unique_key, key) for key, task in self.tasks.items() if task.state in OPEN_STATES]
        if sorted(self.bearers.items()) != sorted((name, key) for name, key in keys if name is not None):
            found.append("The unique keys are not those of the open tasks.")
        for instance in self.instances.values():
            tasks = list(self.members_of(instance.instance_id))
            counted = Counter(task.state for task in tasks)
            if counted != +self.tally[instance.instance_id]:
                found.append(f"The counts of instance {instance.instance_id!r} are wrong.")
            if bool(tasks) and instance.state.has_ended == any(counted[state] for state in OPEN_STATES):
                found.append(f"Instance {instance.instance_id!r} is {instance.state} with tasks {dict(counted)}.")
            for task in tasks:
                met = all(self.tasks[task.instance_id, name].state is TaskState.COMPLETED for name in task.depends_on)
                if met == (task.state is TaskState.BLOCKED) and task.state is not TaskState.CANCELLED:
                    found.append(f"Task {task.key} is {task.state}, and its dependencies say otherwise.")
        return found


def _lane(spec: NewTask) -> tuple[int, str, tuple[str, ...]]:
    return spec.priority, spec.kind or "", tuple(spec.tags)
