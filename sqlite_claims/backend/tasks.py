"""The operations of an engine that add, change and read tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from ..model import AttemptInfo, NewTask, TaskInfo, TaskRef, TaskState
from .types import Kinds


class SharedTasksBackend(Protocol):
    """The operations for tasks that stores and transactions share."""

    def add_instance(
        self, instance_id: str, tasks: Sequence[NewTask], *, definition_hash: str, skip_existing: bool
    ) -> bool: ...

    def add_tasks(self, instance_id: str, tasks: Sequence[NewTask], *, skip_existing: bool) -> int: ...

    def enqueue(self, instance_id: str, task: NewTask, *, skip_existing: bool) -> TaskRef: ...

    def retry_task(self, *, instance_id: str, task_id: str) -> None: ...

    def get_task(self, *, instance_id: str, task_id: str) -> TaskInfo: ...

    def get_tasks(self, refs: Sequence[tuple[str, str]]) -> list[TaskInfo | None]: ...


class StoreTasksBackend(Protocol):
    """The operations for tasks that only stores have."""

    def explain_task(self, *, instance_id: str, task_id: str) -> str: ...

    def list_attempts(self, *, instance_id: str, task_id: str) -> list[AttemptInfo]: ...

    def list_tasks(
        self, *, instance_id: str | None, states: Collection[TaskState] | None, kinds: Kinds
    ) -> Iterator[list[TaskInfo]]: ...
