"""Whether anything is left that a worker could ever do: how ``until_idle`` ends."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import NotFoundError
from ..interface import TaskClaimStore
from ..model import InstanceState, TaskState

OPEN = frozenset({TaskState.READY, TaskState.SCHEDULED, TaskState.CLAIMED})


class OpenWork:
    """Tasks of these tags and kinds that are ready, scheduled or claimed (by anyone) in an instance in progress."""

    def __init__(self, store: TaskClaimStore, tags: Collection[str] | None, kinds: Collection[str] | None) -> None:
        self._store = store
        self._tags = frozenset(tags or ())
        self._kinds = kinds
        # One open task is proof enough. While it stays open, nothing else has to be looked through.
        self._witness: tuple[str, str] | None = None

    def exists(self) -> bool:
        """Whether there is such a task. Reads only."""
        if self._witness is not None and self._is_open(*self._witness):
            return True
        self._witness = None
        counts = self._store.stats().counts
        if not any(counts[state] for state in OPEN):
            return False
        in_progress: dict[str, bool] = {}
        for task in self._store.list_tasks(states=OPEN, kinds=self._kinds):
            if self._tags and not self._tags.issuperset(task.tags):
                continue
            name = task.instance_id
            if name not in in_progress:
                in_progress[name] = self._in_progress(name)
            if in_progress[name]:
                self._witness = (name, task.task_id)
                return True
        return False

    def _is_open(self, instance_id: str, task_id: str) -> bool:
        try:
            state = self._store.get_task(instance_id, task_id).state
        except NotFoundError:
            return False
        return state in OPEN and self._in_progress(instance_id)

    def _in_progress(self, instance_id: str) -> bool:
        try:
            return self._store.get_instance(instance_id).state is InstanceState.IN_PROGRESS
        except NotFoundError:
            return False
