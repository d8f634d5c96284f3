"""The rules of each operation, applied to a ``State``. Callers do the locking and check the arguments.

Every method makes all checks before it changes the state. So a method that raises an error has changed nothing.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from ..clock import Clock
from ..errors import AlreadyExistsError, ClaimLostError, InvalidStateError, NotFoundError
from ..graph import unknown_dependency
from ..model import InstanceState, NewTask, TaskClaim, TaskState
from .records import OPEN_STATES, Entry, Instance, Session, State, Task, TaskKey

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A smaller difference doesn't count as a sleep of the machine, because the two clocks are read one after the other.
_SLEEP_US_MIN = 100_000


class Engine:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        boot = clock.boot_us()
        self.state = State(boot_id=clock.boot_id(), boot=boot, slept=boot - clock.awake_us())
        self.now = boot
        self.wall = clock.wall_us()
        # The dead sessions are not part of the state, because a rollback does not undo the death of a worker.
        self.dead_sessions: set[int] = set()

    # -- time

    def catch_up(self) -> None:
        """Read the clocks, and handle a reboot or a sleep of the machine before any operation."""
        state = self.state
        boot, boot_id = self.clock.boot_us(), self.clock.boot_id()
        slept = boot - self.clock.awake_us()
        if boot_id != state.boot_id or boot < state.boot:
            self._new_boot(boot_id, boot, slept)
        elif slept - state.slept > _SLEEP_US_MIN:
            self._prolong(slept - state.slept, state.boot + state.anchor)
            state.slept = slept
        state.boot = boot
        self.now = boot + state.anchor
        self.wall = self.clock.wall_us()

    def _new_boot(self, boot_id: str, boot: int, slept: int) -> None:
        """Handle a reboot: end all claims without a loss, let store time continue, and make later tokens larger."""
        state = self.state
        state.anchor += state.boot - boot
        state.boot_id, state.slept = boot_id, slept
        state.token_floor = ((state.token_floor >> 32) + 1) << 32
        state.sessions.clear()
        for key in list(state.held):
            state.put(_without_claim(state.tasks[key], state=TaskState.READY, failed_on=None))

    def _prolong(self, by: int, last_seen: int) -> None:
        """Handle a sleep of the machine: prolong the leases that had not expired at the last call before the sleep."""
        for key in list(self.state.held):
            task = self.state.tasks[key]
            if task.expires is not None and task.expires > last_seen:
                self.extend(task, by)

    # -- searching for work

    def sweep(self) -> None:
        """Do the clean-up before a search for work: dead sessions, due tasks, expired last claims."""
        for session in self.dead_sessions & self.state.sessions.keys():
            self._lose_claims_of(session)
        self._settle_the_calendar()
        for _, _, key in list(takewhile(self._has_come, self.state.last_claims)):
            if self.state.instances[key[0]].state is InstanceState.IN_PROGRESS:
                self._lose(self.state.tasks[key])

    def sweep_task(self, task: Task) -> None:
        """Do the part of the sweep that concerns one task."""
        if task.session in self.dead_sessions:
            self._lose_claims_of(task.session)
            return
        if task.state is TaskState.READY and task.place is None:
            self._settle_the_calendar(task)
        in_progress = self.state.instances[task.instance_id].state is InstanceState.IN_PROGRESS
        if in_progress and self._has_expired(task) and task.is_last_claim:
            self._lose(task)

    def _lose_claims_of(self, session: int) -> None:
        for key in list(self.state.held):
            if self.state.tasks[key].session == session:
                self._lose(self.state.tasks[key])
        del self.state.sessions[session]

    def _settle_the_calendar(self, just: Task | None = None) -> None:
        """Give each task that is due by the wall clock its position: the store time at which the task became due."""
        for due, _, key in list(takewhile(lambda entry: entry[0] <= self.wall, self.state.by_calendar)):
            if just is None or just.key == key:
                self.state.put(replace(self.state.tasks[key], place=self.now - (self.wall - due)))

    def _has_come(self, entry: Entry) -> bool:
        return entry[0] <= self.now

    def _has_expired(self, task: Task) -> bool:
        return task.state is TaskState.CLAIMED and task.expires is not None and task.expires <= self.now

    def can_be_claimed(self, task: Task) -> bool:
        """Return whether the task is ready or has an expired claim (not a last claim), in an instance in progress."""
        if self.state.instances[task.instance_id].state is not InstanceState.IN_PROGRESS:
            return False
        if task.state is TaskState.READY:
            return task.place is not None and task.place <= self.now
        return self._has_expired(task) and not task.is_last_claim

    def available(self, tags: frozenset[str], kinds: frozenset[str] | None) -> Iterator[Task]:
        """Iterate over the tasks that a worker with these tags and kinds could claim, in order."""
        aging = self.state.aging

        def ranked(priority: int, timeline: list[Entry]) -> Iterator[tuple[int, int, int, TaskKey]]:
            for when, seq, key in takewhile(self._has_come, timeline):
                # The order by priority * aging + when is the order by priority - waiting time / aging, without
                # rounding.
                yield (priority, when, seq, key) if aging is None else (priority * aging + when, 0, seq, key)

        wanted = (
            ranked(priority, timeline)
            for (priority, kind, needed), timeline in self.state.claimable.items()
            if (kinds is None or kind in kinds) and (not tags or tags.issuperset(needed))
        )
        for _, _, _, key in heapq.merge(*wanted):
            if self.state.instances[key[0]].state is InstanceState.IN_PROGRESS:
                yield self.state.tasks[key]

    # -- claims

    def claim(self, task: Task, worker_id: str, ttl_us: int | None, session: int | None) -> Task:
        """Claim a task for which ``can_be_claimed`` holds.

        If the task has an expired claim, this claim becomes a loss, and its expiry becomes the task's position.
        """
        took_over = task.state is TaskState.CLAIMED
        task = replace(
            task,
            state=TaskState.CLAIMED,
            place=task.expires if took_over else task.place,
            token=max(task.token, self.state.token_floor) + 1,
            attempts=task.attempts + 1,
            losses=task.losses + took_over,
            failed_on=None if took_over else task.failed_on,
            worker_id=worker_id,
            session=session,
            started_wall=self.wall,
        )
        return self.renew(task, ttl_us)

    def renew(self, task: Task, ttl_us: int | None) -> Task:
        expires = (None, None) if ttl_us is None else (self.now + ttl_us, self.wall + ttl_us)
        task = replace(task, expires=expires[0], expires_wall=expires[1])
        self.state.put(task)
        return task

    def extend(self, task: Task, by: int) -> None:
        if task.expires is not None and task.expires_wall is not None:
            self.state.put(replace(task, expires=task.expires + by, expires_wall=task.expires_wall + by))

    def release(self, task: Task, delay_us: int | None) -> None:
        self.state.put(
            _without_claim(
                task,
                state=TaskState.READY,
                place=task.place if delay_us is None else self.now + delay_us,
                attempts=task.attempts - 1,
                worker_id=None,
                started_wall=task.started_wall if task.attempts > 1 else None,
            )
        )

    def complete(self, task: Task, output: bytes) -> None:
        state = self.state
        state.put(_without_claim(task, state=TaskState.COMPLETED, output=output, error=None, finished_wall=self.wall))
        for name in state.dependents.get(task.key, ()):
            dependent = state.tasks[task.instance_id, name]
            if self._is_met(dependent):
                state.put(self._unblocked(dependent))
        self._end_if_done(task.instance_id)

    def fail(self, task: Task, error: str, retry: bool, retry_in_us: int | None) -> None:
        failures = task.failures + 1
        failed = _without_claim(task, failures=failures, error=error, failed_on=task.worker_id)
        if not retry or failures >= task.spec.max_attempts:
            self._fail_for_good(failed)
            return
        if retry_in_us is None:
            retry_in_us = task.spec.retry.delay_us(failures, random.uniform(-1, 1))
        self.state.put(replace(failed, state=TaskState.READY, place=self.now + retry_in_us))

    def _lose(self, task: Task) -> None:
        losses = task.losses + 1
        lost = _without_claim(task, losses=losses, failed_on=None)
        if losses >= task.spec.max_lost:
            self._fail_for_good(replace(lost, error=f"lost {losses} claims; max_lost is {task.spec.max_lost}"))
        else:
            self.state.put(replace(lost, state=TaskState.READY, place=self.now))

    def _fail_for_good(self, task: Task) -> None:
        self.state.put(replace(task, state=TaskState.FAILED, finished_wall=self.wall))
        for dependent in self._dependents_of(task):
            if dependent.state is TaskState.BLOCKED:
                self.state.put(replace(dependent, state=TaskState.CANCELLED, finished_wall=self.wall))
        self._end_if_done(task.instance_id)

    def held_by_token(self, claim: TaskClaim) -> Task:
        task = self.state.tasks.get((claim.instance_id, claim.task_id))
        if task is None or task.state is not TaskState.CLAIMED or task.token != claim.token:
            raise ClaimLostError(
                f"Lost: the claim with token {claim.token} on task {claim.task_id!r} of instance {claim.instance_id!r}",
                instance_id=claim.instance_id,
                task_id=claim.task_id,
            )
        return task

    def held_by_name(self, instance_id: str, task_id: str, worker_id: str) -> Task:
        task = self.task(instance_id, task_id)
        if task.state is not TaskState.CLAIMED:
            raise NotFoundError(
                f"Nobody holds a claim on task {task_id!r} of instance {instance_id!r}",
                instance_id=instance_id,
                task_id=task_id,
            )
        if task.worker_id != worker_id:
            raise ClaimLostError(
                f"Task {task_id!r} of instance {instance_id!r} is held by worker {task.worker_id!r}, not {worker_id!r}",
                instance_id=instance_id,
                task_id=task_id,
            )
        return task

    # -- tasks and instances

    def task(self, instance_id: str, task_id: str) -> Task:
        try:
            return self.state.tasks[instance_id, task_id]
        except KeyError:
            raise NotFoundError(
                f"There is no task {task_id!r} in instance {instance_id!r}", instance_id=instance_id, task_id=task_id
            ) from None

    def instance(self, instance_id: str) -> Instance:
        try:
            return self.state.instances[instance_id]
        except KeyError:
            raise NotFoundError(f"There is no instance {instance_id!r}", instance_id=instance_id) from None

    def add_instance(self, instance_id: str, specs: Sequence[NewTask], definition_hash: str, skip: bool) -> bool:
        if instance_id in self.state.instances:
            if skip:
                return False
            raise AlreadyExistsError(f"There is already an instance {instance_id!r}", instance_id=instance_id)
        state = self.state
        state.instances[instance_id] = Instance(instance_id, self._next_seq(), definition_hash, self.wall)
        state.members[instance_id], state.tally[instance_id] = {}, Counter()
        self._add(instance_id, specs)
        return True

    def add_tasks(self, instance_id: str, specs: Sequence[NewTask], skip: bool) -> int:
        instance = self.instance(instance_id)
        if instance.state is InstanceState.CANCELLED:
            raise InvalidStateError(f"Instance {instance_id!r} is cancelled", instance_id=instance_id)
        stored = {task.spec.task_id: task for task in self.state.members_of(instance_id)}
        known = [spec.task_id for spec in specs if spec.task_id in stored]
        if known and not skip:
            raise AlreadyExistsError(
                f"Instance {instance_id!r} already has a task {known[0]!r}",
                instance_id=instance_id,
                task_id=known[0],
            )
        specs = [spec for spec in specs if spec.task_id not in stored]
        _check_dependencies(instance_id, specs, stored)
        if specs and instance.state.has_ended:
            self._put_instance(instance, InstanceState.IN_PROGRESS)
        self._add(instance_id, specs)
        return len(specs)

    def _add(self, instance_id: str, specs: Sequence[NewTask]) -> None:
        for spec in specs:
            due_wall = None
            if spec.available_at is not None:
                due_wall = (spec.available_at - _EPOCH) // timedelta(microseconds=1)
            task = Task(
                instance_id,
                spec,
                self._next_seq(),
                self.state.token_floor,
                self.wall,
                depends_on=tuple(spec.depends_on),
                due_wall=due_wall,
            )
            self.state.put(self._unblocked(task) if self._is_met(task) else task)

    def _is_met(self, task: Task) -> bool:
        stored = (self.state.tasks.get((task.instance_id, name)) for name in task.depends_on)
        return all(dependency is not None and dependency.state is TaskState.COMPLETED for dependency in stored)

    def _unblocked(self, task: Task) -> Task:
        if task.due_wall is not None:
            place = self.now if task.due_wall <= self.wall else None
        else:
            place = self.now + _delay_us(task.spec)
        return replace(task, state=TaskState.READY, place=place)

    def _dependents_of(self, task: Task) -> list[Task]:
        """Return all direct and indirect dependents, each after its dependencies."""
        found: dict[str, None] = {}
        todo = [task.spec.task_id]
        while todo:
            for name in self.state.dependents.get((task.instance_id, todo.pop()), ()):
                if name not in found:
                    found[name] = None
                    todo.append(name)
        order: dict[str, None] = {}
        while len(order) < len(found):
            for name in found:
                needed = self.state.tasks[task.instance_id, name].depends_on
                if name not in order and all(other in order or other not in found for other in needed):
                    order[name] = None
        return [self.state.tasks[task.instance_id, name] for name in order]

    def _end_if_done(self, instance_id: str) -> None:
        instance = self.state.instances[instance_id]
        if instance.state.has_ended or self.state.has_open_tasks(instance_id):
            return
        counts = self.state.tally[instance_id]
        failed = counts[TaskState.COMPLETED] < counts.total()
        self._put_instance(instance, InstanceState.FAILED if failed else InstanceState.COMPLETED)

    def _put_instance(self, instance: Instance, state: InstanceState, reason: str | None = None) -> None:
        instance = replace(instance, state=state, reason=reason)
        finished_wall = self.wall if instance.state.has_ended else None
        self.state.instances[instance.instance_id] = replace(instance, finished_wall=finished_wall)

    def pause(self, instance_id: str) -> None:
        instance = self.instance(instance_id)
        if instance.state.has_ended:
            raise InvalidStateError(
                f"Instance {instance_id!r} is {instance.state}: it can't be paused", instance_id=instance_id
            )
        self._put_instance(instance, InstanceState.PAUSED)

    def resume(self, instance_id: str) -> None:
        instance = self.instance(instance_id)
        if instance.state is InstanceState.CANCELLED:
            raise InvalidStateError(
                f"Instance {instance_id!r} is cancelled: it can't be resumed", instance_id=instance_id
            )
        if instance.state is InstanceState.PAUSED:
            self._put_instance(instance, InstanceState.IN_PROGRESS)

    def cancel(self, instance_id: str, reason: str | None) -> None:
        instance = self.instance(instance_id)
        if instance.state is InstanceState.CANCELLED:
            return
        if instance.state.has_ended:
            raise InvalidStateError(
                f"Instance {instance_id!r} is {instance.state}: it can't be cancelled", instance_id=instance_id
            )
        for task in list(self.state.members_of(instance_id)):
            if task.state in OPEN_STATES:
                self.state.put(_without_claim(task, state=TaskState.CANCELLED, finished_wall=self.wall))
        self._put_instance(instance, InstanceState.CANCELLED, reason)

    def retry(self, instance_id: str, task_id: str) -> None:
        task = self.task(instance_id, task_id)
        instance = self.instance(instance_id)
        if instance.state is InstanceState.CANCELLED:
            raise InvalidStateError(
                f"Instance {instance_id!r} is cancelled: its tasks can't be retried", instance_id=instance_id
            )
        if task.state is not TaskState.FAILED:
            raise InvalidStateError(
                f"Task {task_id!r} of instance {instance_id!r} is {task.state}, not failed",
                instance_id=instance_id,
                task_id=task_id,
            )
        fresh = replace(task, state=TaskState.READY, place=self.now, attempts=0, failures=0, losses=0)
        fresh = replace(fresh, worker_id=None, started_wall=None, finished_wall=None)
        self.state.put(replace(fresh, error=None, failed_on=None))
        for dependent in self._dependents_of(task):
            needed = (self.state.tasks[instance_id, name].state for name in dependent.depends_on)
            if dependent.state is TaskState.CANCELLED and not {TaskState.FAILED, TaskState.CANCELLED} & set(needed):
                self.state.put(replace(dependent, state=TaskState.BLOCKED, finished_wall=None))
        if instance.state.has_ended:
            self._put_instance(instance, InstanceState.IN_PROGRESS)

    def prune(self, older_than_us: int, limit: int) -> int:
        state = self.state
        ended = [
            (instance.finished_wall, instance.seq, instance.instance_id)
            for instance in state.instances.values()
            if instance.finished_wall is not None and instance.finished_wall < self.wall - older_than_us
        ]
        for _, _, instance_id in (gone := sorted(ended)[:limit]):
            tokens = (task.token for task in state.members_of(instance_id))
            state.token_floor = max(state.token_floor, *tokens, 0)
            state.remove_instance(instance_id)
        return len(gone)

    def open_session(self, worker_id: str) -> Session:
        self.dead_sessions.intersection_update(self.state.sessions)  # a session that was removed has no claims
        session = Session(self.state.next_session, worker_id, self.wall)
        self.state.next_session += 1
        self.state.sessions[session.id] = session
        return session

    def close_session(self, id: int) -> None:
        """End a session that its worker closes. The session's claims are lost at once."""
        if id in self.state.sessions:
            self.dead_sessions.add(id)
            self._lose_claims_of(id)

    def _next_seq(self) -> int:
        self.state.next_seq += 1
        return self.state.next_seq


def _check_dependencies(instance_id: str, specs: Sequence[NewTask], stored: dict[str, Task]) -> None:
    new = {spec.task_id for spec in specs}
    for spec in specs:
        for name in spec.depends_on:
            if name not in new and name not in stored:
                raise unknown_dependency(spec.task_id, name)
            if name in stored and stored[name].state in (TaskState.FAILED, TaskState.CANCELLED):
                raise InvalidStateError(
                    f"Task {spec.task_id!r} would depend on {name!r}, which is {stored[name].state}",
                    instance_id=instance_id,
                    task_id=spec.task_id,
                )


def _delay_us(spec: NewTask) -> int:
    return round(spec.delay * 1e6) if isinstance(spec.delay, (int, float)) else 0


def _without_claim(task: Task, **changes: object) -> Task:
    return replace(task, session=None, expires=None, expires_wall=None, **changes)  # type: ignore[arg-type]
