"""The numbers of an instance's tasks, counted from 1 in the order in which the tasks were added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

from ...model import TaskInfo
from ...sqlite.store import SqliteClaimStore
from .lines import Counts


class TaskNumbers:
    """The numbers of the tasks of one instance. A task keeps its number in all later runs.

    Each number takes 12 bytes of memory, in a hash table.
    """

    def __init__(self, store: SqliteClaimStore, instance_id: str) -> None:
        self._store = store
        self._instance_id = instance_id
        self._numbers = Counts()
        self.count = 0

    def read(self) -> Iterator[tuple[int, TaskInfo]]:
        """Read all tasks of the instance, and yield each task with its number."""
        self.count = 0
        # Only a list over all instances has the order of adding. The kind of these tasks is the name of the instance.
        for task in self._store.list_tasks(kinds=[self._instance_id]):
            if task.instance_id == self._instance_id:
                self.count += 1
                self._numbers.put(_digest(task.task_id), self.count)
                yield self.count, task

    def get(self, task_id: str) -> int:
        """Return the number of a task, or 0 if the number is not known."""
        return self._numbers.get(_digest(task_id))

    def find(self, task_id: str) -> int:
        """Return the number of a task. If another process has added the task, read all tasks again."""
        if not self.get(task_id):
            for _ in self.read():
                pass
        return self.get(task_id)

    def note_added(self, task_ids: Sequence[str], *, count_before: int, added: int) -> list[int]:
        """Number tasks that were added, and return their numbers.

        Args:
            task_ids: The tasks, in the order in which they were passed to the store.
            count_before: Number of tasks of the instance before the call.
            added: Number of tasks that the store has added.
        """
        new = [task_id for task_id in task_ids if not self.get(task_id)]
        if count_before == self.count and added == len(new):
            for task_id in new:
                self.count += 1
                self._numbers.put(_digest(task_id), self.count)
        else:  # another process has added tasks, too
            for _ in self.read():
                pass
        return [self.get(task_id) for task_id in new]


def _digest(task_id: str) -> bytes:
    return blake2b(task_id.encode(), digest_size=8).digest()
