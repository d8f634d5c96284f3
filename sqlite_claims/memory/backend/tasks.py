"""The operations that add, change and read tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ...backend import Kinds
from ...model import AttemptInfo, NewTask, TaskInfo, TaskRef, TaskState
from .. import reading
from ..engine import Engine
from .base import MemoryOperations, MemoryStoreOperations


class MemorySharedTasks(MemoryOperations):
    """The operations of ``SharedTasksBackend``."""

    def add_instance(
        self, instance_id: str, tasks: Sequence[NewTask], *, definition_hash: str, skip_existing: bool
    ) -> bool:
        with self._engine() as engine:
            return engine.add_instance(instance_id, tasks, definition_hash, skip_existing)

    def add_tasks(self, instance_id: str, tasks: Sequence[NewTask], *, skip_existing: bool) -> int:
        with self._engine() as engine:
            return engine.add_tasks(instance_id, tasks, skip_existing)

    def enqueue(self, instance_id: str, task: NewTask, *, skip_existing: bool) -> TaskRef:
        with self._engine() as engine:
            return engine.enqueue(instance_id, task, skip_existing)

    def retry_task(self, *, instance_id: str, task_id: str) -> None:
        with self._engine() as engine:
            engine.retry(instance_id, task_id)

    def get_task(self, *, instance_id: str, task_id: str) -> TaskInfo:
        with self._engine(writes=False) as engine:
            return reading.task_info(engine, engine.task(instance_id, task_id))

    def get_tasks(self, refs: Sequence[tuple[str, str]]) -> list[TaskInfo | None]:
        with self._engine(writes=False) as engine:
            found = (engine.state.tasks.get(ref) for ref in refs)
            return [None if task is None else reading.task_info(engine, task) for task in found]


class MemoryStoreTasks(MemorySharedTasks, MemoryStoreOperations):
    """The operations of ``SharedTasksBackend`` and ``StoreTasksBackend``."""

    def explain_task(self, *, instance_id: str, task_id: str) -> str:
        with self._engine(writes=False) as engine:
            return reading.explanation(engine, engine.task(instance_id, task_id))

    def list_attempts(self, *, instance_id: str, task_id: str) -> list[AttemptInfo]:
        with self._engine(writes=False) as engine:
            return list(engine.task(instance_id, task_id).ended_attempts)

    def list_tasks(
        self, *, instance_id: str | None, states: Collection[TaskState] | None, kinds: Kinds
    ) -> Iterator[list[TaskInfo]]:
        with self._engine(writes=False) as engine:
            if instance_id is None:
                keys = list(engine.state.tasks)
            else:
                engine.instance(instance_id)
                keys = sorted((instance_id, name) for name in engine.state.members[instance_id])

        def show(engine: Engine, key: tuple[str, str]) -> TaskInfo | None:
            task = engine.state.tasks.get(key)
            if task is None or not (states is None or reading.state_of(engine, task) in states):
                return None
            return reading.task_info(engine, task) if kinds is None or (task.spec.kind or "") in kinds else None

        return self._each(keys, show)
