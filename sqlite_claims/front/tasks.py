"""The public methods that add, change and read tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Unpack

from .. import arguments, validate
from ..graph import check_graph
from ..interface import IfExists
from ..interface.tasks import SharedTasks, StoreTasks, TaskOptions
from ..model import AttemptInfo, NewTask, TaskInfo, TaskRef, TaskState
from .base import SharedFront, StoreFront
from .new_id import new_id
from .paging import first, maximum


class SharedTasksFront(SharedFront, SharedTasks):
    """The methods of ``SharedTasks``."""

    def add_instance(
        self,
        instance_id: str,
        tasks: Iterable[NewTask] = (),
        *,
        definition_hash: str = "",
        if_exists: IfExists = "error",
    ) -> bool:
        instance_id = validate.name("instance_id", instance_id)
        new_tasks = arguments.tasks(tasks)
        check_graph(new_tasks, is_whole=True)
        return self._backend.add_instance(
            instance_id,
            new_tasks,
            definition_hash=validate.name("definition_hash", definition_hash, empty=True),
            skip_existing=arguments.skips_existing(if_exists),
        )

    def add_tasks(self, instance_id: str, tasks: Iterable[NewTask], *, if_exists: IfExists = "error") -> int:
        instance_id = validate.name("instance_id", instance_id)
        new_tasks = arguments.tasks(tasks)
        check_graph(new_tasks, is_whole=False)
        return self._backend.add_tasks(instance_id, new_tasks, skip_existing=arguments.skips_existing(if_exists))

    def enqueue(
        self,
        kind: str | None,
        input: bytes | None = None,
        *,
        instance_id: str | None = None,
        if_exists: IfExists = "error",
        **options: Unpack[TaskOptions],
    ) -> TaskRef:
        arguments.enqueue_options(options)
        task = NewTask("task", input, kind=kind, **options)
        return self._backend.enqueue(
            new_id() if instance_id is None else validate.name("instance_id", instance_id),
            task,
            skip_existing=arguments.skips_existing(if_exists),
        )

    def retry_task(self, instance_id: str, task_id: str) -> None:
        self._backend.retry_task(
            instance_id=validate.name("instance_id", instance_id), task_id=validate.name("task_id", task_id)
        )

    def get_task(self, instance_id: str, task_id: str) -> TaskInfo:
        return self._backend.get_task(
            instance_id=validate.name("instance_id", instance_id), task_id=validate.name("task_id", task_id)
        )

    def get_tasks(self, refs: Iterable[tuple[str, str]]) -> list[TaskInfo | None]:
        return self._backend.get_tasks(arguments.refs(refs))


class StoreTasksFront(StoreFront, StoreTasks):
    """The methods of ``StoreTasks``."""

    def explain_task(self, instance_id: str, task_id: str) -> str:
        return self._backend.explain_task(
            instance_id=validate.name("instance_id", instance_id), task_id=validate.name("task_id", task_id)
        )

    def list_attempts(self, instance_id: str, task_id: str) -> list[AttemptInfo]:
        return self._backend.list_attempts(
            instance_id=validate.name("instance_id", instance_id), task_id=validate.name("task_id", task_id)
        )

    def list_tasks(
        self,
        instance_id: str | None = None,
        *,
        states: Collection[TaskState] | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[TaskInfo]:
        number = maximum(limit)
        pages = self._backend.list_tasks(
            instance_id=None if instance_id is None else validate.name("instance_id", instance_id),
            states=validate.states("states", states, TaskState),
            kinds=validate.kinds(kinds),
        )
        return first(number, pages)
