"""The operations that add, change and read tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ...backend import Kinds
from ...model import AttemptInfo, NewTask, TaskInfo, TaskRef, TaskState
from ..operations import adding, attempts, listing, reading, retrying
from .base import SqliteOperations, SqliteStoreOperations


class SqliteSharedTasks(SqliteOperations):
    """The operations of ``SharedTasksBackend``."""

    def add_instance(
        self, instance_id: str, tasks: Sequence[NewTask], *, definition_hash: str, skip_existing: bool
    ) -> bool:
        return self._write(
            adding.add_instance, True, instance_id, tasks, definition_hash=definition_hash, skip_existing=skip_existing
        )

    def add_tasks(self, instance_id: str, tasks: Sequence[NewTask], *, skip_existing: bool) -> int:
        return self._write(adding.add_tasks, True, instance_id, tasks, skip_existing=skip_existing)

    def enqueue(self, instance_id: str, task: NewTask, *, skip_existing: bool) -> TaskRef:
        return self._write(adding.enqueue, True, instance_id, task, skip_existing=skip_existing)

    def retry_task(self, *, instance_id: str, task_id: str) -> None:
        self._write(retrying.retry_task, True, instance_id=instance_id, task_id=task_id)

    def get_task(self, *, instance_id: str, task_id: str) -> TaskInfo:
        return self._read(reading.get_task, instance_id=instance_id, task_id=task_id)

    def get_tasks(self, refs: Sequence[tuple[str, str]]) -> list[TaskInfo | None]:
        return self._read(reading.get_tasks, refs)


class SqliteStoreTasks(SqliteSharedTasks, SqliteStoreOperations):
    """The operations of ``SharedTasksBackend`` and ``StoreTasksBackend``."""

    def explain_task(self, *, instance_id: str, task_id: str) -> str:
        return self._read(reading.explain_task, instance_id, task_id)

    def list_attempts(self, *, instance_id: str, task_id: str) -> list[AttemptInfo]:
        return self._read(attempts.listed, instance_id=instance_id, task_id=task_id)

    def list_tasks(
        self, *, instance_id: str | None, states: Collection[TaskState] | None, kinds: Kinds
    ) -> Iterator[list[TaskInfo]]:
        if instance_id is not None:
            self._read(reading.instance_row, instance_id)
        return self._pages(lambda after: self._read(listing.tasks_page, instance_id, after, states, kinds))
