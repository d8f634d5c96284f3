"""The rules for adding and retrying tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ...errors import AlreadyExistsError, InvalidStateError
from ...graph import unknown_dependency
from ...model import InstanceState, NewTask, TaskRef, TaskState
from ..records import Instance, Task
from .base import EngineBase

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Tasks(EngineBase):
    """The rules for adding and retrying tasks, and for the dependencies between tasks."""

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

    def enqueue(self, instance_id: str, spec: NewTask, skip: bool) -> TaskRef:
        self.add_instance(instance_id, [spec], "", skip and (instance_id, spec.task_id) in self.state.tasks)
        return TaskRef(instance_id, spec.task_id)

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
        self.state.put(replace(fresh, error=None, failed_on=None, progress=None, checkpoint=None))
        for dependent in self._dependents_of(task):
            needed = (self.state.tasks[instance_id, name].state for name in dependent.depends_on)
            if dependent.state is TaskState.CANCELLED and not {TaskState.FAILED, TaskState.CANCELLED} & set(needed):
                self.state.put(replace(dependent, state=TaskState.BLOCKED, finished_wall=None))
        if instance.state.has_ended:
            self._put_instance(instance, InstanceState.IN_PROGRESS)


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
