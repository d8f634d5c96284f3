"""The rules for adding and retrying tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ...errors import AlreadyExistsError, InvalidStateError
from ...graph import unknown_dependency
from ...model import InstanceState, NewTask, TaskRef, TaskState
from ..records import Instance, Task, TaskKey
from .base import EngineBase, without_claim

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Tasks(EngineBase):
    """The rules for adding and retrying tasks, and for the dependencies between tasks."""

    def add_instance(self, instance_id: str, specs: Sequence[NewTask], definition_hash: str, skip: bool) -> bool:
        if instance_id in self.state.instances:
            if skip:
                return False
            raise AlreadyExistsError(f"There is already an instance {instance_id!r}", instance_id=instance_id)
        untaken = self._without_taken(instance_id, specs, skip)
        if specs and not untaken:
            return False
        state = self.state
        state.instances[instance_id] = Instance(instance_id, self._next_seq(), definition_hash, self.wall)
        state.members[instance_id], state.tally[instance_id] = {}, Counter()
        self._add(instance_id, untaken)
        return True

    def _bearer(self, key: str) -> Task | None:
        """Return the open task that has a unique key, unless this task has expired."""
        task = self.state.tasks.get(self.state.bearers[key]) if key in self.state.bearers else None
        return None if task is None or self._is_expired(task) else task

    def _is_expired(self, task: Task) -> bool:
        return task.expiry_wall is not None and task.expiry_wall <= self.wall

    def _without_taken(self, instance_id: str, specs: Sequence[NewTask], skip: bool) -> list[NewTask]:
        """Return the tasks whose key is free, after every task with one of the keys that has expired is cancelled."""
        bearers: dict[str, TaskKey] = {}
        kept, left_out = [], set()
        for spec in specs:
            key = spec.unique_key
            if key is not None and key not in bearers and (stored := self._bearer(key)) is not None:
                bearers[key] = stored.key
            if key is None or key not in bearers:
                kept.append(spec)
                if key is not None:
                    bearers[key] = (instance_id, spec.task_id)
            elif skip:
                left_out.add(spec.task_id)
            else:
                raise _taken_error(key, bearers[key])
        for spec in kept:
            for name in left_out.intersection(spec.depends_on):
                raise unknown_dependency(spec.task_id, name)
        return kept

    def _expire_bearers(self, keys: Iterable[str | None]) -> None:
        for key in keys:
            if key is not None and key in self.state.bearers:
                task = self.state.tasks[self.state.bearers[key]]
                if self._is_expired(task):
                    self.expire(task)

    def expire(self, task: Task) -> None:
        """Cancel a task that has expired, and all its direct and indirect dependents."""
        cancelled = without_claim(task, state=TaskState.CANCELLED, finished_wall=self.wall, ended=self.now)
        self.state.put(replace(cancelled, error="expired"))
        self._cancel_dependents(task)
        self._end_if_done(task.instance_id)

    def _cancel_dependents(self, task: Task) -> None:
        for dependent in self._dependents_of(task):
            if dependent.state is TaskState.BLOCKED:
                cancelled = replace(dependent, state=TaskState.CANCELLED, finished_wall=self.wall, ended=self.now)
                self.state.put(cancelled)

    def enqueue(self, instance_id: str, spec: NewTask, skip: bool) -> TaskRef:
        if skip and (instance_id, spec.task_id) in self.state.tasks:
            return TaskRef(instance_id, spec.task_id)
        bearer = None if spec.unique_key is None else self._bearer(spec.unique_key)
        if skip and bearer is not None:
            return TaskRef(*bearer.key)
        self.add_instance(instance_id, [spec], "", False)
        return TaskRef(instance_id, spec.task_id)

    def add_tasks(self, instance_id: str, specs: Sequence[NewTask], skip: bool) -> int:
        instance = self.instance(instance_id)
        if instance.sealed:
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
        specs = self._without_taken(instance_id, specs, skip)
        self._check_dependencies(instance_id, specs, stored)
        self._expire_bearers(spec.unique_key for spec in specs)
        instance = self.instance(instance_id)
        if specs and instance.state.has_ended:
            self._put_instance(instance, InstanceState.IN_PROGRESS)
        self._add(instance_id, specs)
        return len(specs)

    def _add(self, instance_id: str, specs: Sequence[NewTask]) -> None:
        self._expire_bearers(spec.unique_key for spec in specs)
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
        restored = self._restorable(task)
        expired = self._expired_bearers([task, *restored])
        fresh = replace(task, state=TaskState.READY, place=self.now, attempts=0, failures=0, losses=0)
        fresh = replace(fresh, worker_id=None, started_wall=None, finished_wall=None)
        self.state.put(replace(fresh, error=None, failed_on=None, progress=None, checkpoint=None))
        for dependent in restored:
            self.state.put(replace(dependent, state=TaskState.BLOCKED, finished_wall=None))
        if instance.state.has_ended:
            self._put_instance(instance, InstanceState.IN_PROGRESS)
        for other in expired:
            self.expire(other)

    def _restorable(self, task: Task) -> list[Task]:
        """Return the dependents that were cancelled because this task failed, and that return when it is retried."""
        open_again = {task.spec.task_id}
        restorable = []
        for dependent in self._dependents_of(task):
            needed = (self.state.tasks[task.instance_id, name] for name in dependent.depends_on)
            stops = (TaskState.FAILED, TaskState.CANCELLED)
            is_free = all(other.spec.task_id in open_again or other.state not in stops for other in needed)
            if is_free and dependent.state is TaskState.CANCELLED and dependent.error is None:
                open_again.add(dependent.spec.task_id)
                restorable.append(dependent)
        return restorable

    def _expired_bearers(self, tasks: Sequence[Task]) -> list[Task]:
        """Check that no open task has a key of these tasks. Return the tasks with these keys that have expired."""
        keys: dict[str, TaskKey] = {}
        for task in tasks:
            key = task.spec.unique_key
            if key is not None:
                bearer = self._bearer(key)
                if bearer is not None or key in keys:
                    raise _taken_error(key, keys[key] if bearer is None else bearer.key)
                keys[key] = task.key
        return [self.state.tasks[self.state.bearers[key]] for key in keys if key in self.state.bearers]

    def _check_dependencies(self, instance_id: str, specs: Sequence[NewTask], stored: dict[str, Task]) -> None:
        new = {spec.task_id for spec in specs}
        for spec in specs:
            for name in spec.depends_on:
                if name not in new and name not in stored:
                    raise unknown_dependency(spec.task_id, name)
                task = stored.get(name)
                if task is not None and (
                    task.state in (TaskState.FAILED, TaskState.CANCELLED) or self._is_expired(task)
                ):
                    raise InvalidStateError(
                        f"Task {spec.task_id!r} would depend on {name!r}, which is {task.state} or has expired",
                        instance_id=instance_id,
                        task_id=spec.task_id,
                    )


def _taken_error(key: str, ref: TaskKey) -> AlreadyExistsError:
    return AlreadyExistsError(f"The open task {ref} has the key {key!r}", instance_id=ref[0], task_id=ref[1])


def _delay_us(spec: NewTask) -> int:
    return round(spec.delay * 1e6) if isinstance(spec.delay, (int, float)) else 0
