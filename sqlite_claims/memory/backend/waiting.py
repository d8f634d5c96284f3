"""The operations that wait for a change."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...backend import Kinds, Tags, TaskWatch
from ...model import TaskInfo
from .. import reading
from .base import MemoryStoreOperations

# A waiting thread checks again after this time, because a test that sets a simulated clock wakes no thread.
_POLL_S = 0.02


class MemoryStoreWaiting(MemoryStoreOperations):
    """The operations of ``StoreWaitingBackend``."""

    def any_available(self, *, tags: Tags, kinds: Kinds) -> bool:
        with self._engine(writes=False) as engine:
            engine.sweep()
            return any(True for _ in engine.available(frozenset(tags), kinds))

    def ready_number(self) -> int:
        return self.commit_number()

    def wait_ready(self, number: int, *, tags: Tags, kinds: Kinds, timeout_s: float) -> None:  # noqa: ARG002 - polls
        self.wait_commit(number, timeout_s=timeout_s)

    def watch_tasks(self, refs: Sequence[tuple[str, str]]) -> TaskWatch:
        with self._engine(writes=False) as engine:
            return _Watch(self, {ref: engine.task(*ref).seq for ref in refs})

    def expire_tasks(self) -> None:
        with self._engine(writes=False) as engine:
            engine.expire_tasks()

    def commit_number(self) -> int:
        with self._engine(writes=False):
            return self._commits

    def wait_commit(self, number: int, *, timeout_s: float) -> None:
        with self._engine(writes=False):
            if self._commits != number:
                return
            if not self.in_transaction:
                self.changed.wait(min(timeout_s, _POLL_S))
            else:  # inside a transaction, a wait on the condition would release the lock
                time.sleep(min(timeout_s, _POLL_S))


class _Watch:
    """The tasks that a caller waits for, each with the number by which a later task of the same name differs."""

    def __init__(self, store: MemoryStoreWaiting, tasks: dict[tuple[str, str], int]) -> None:
        self._store = store
        self._tasks = tasks

    @property
    def size(self) -> int:
        return len(self._tasks)

    def poll(self) -> list[TaskInfo]:
        with self._store._engine(writes=False) as engine:
            stored = {ref: engine.state.tasks.get(ref) for ref in self._tasks}
            kept = {ref: task for ref, task in stored.items() if task is not None and task.seq == self._tasks[ref]}
            ended = sorted(
                (task for task in kept.values() if task.state.has_ended), key=lambda task: (task.ended, task.seq)
            )
            done = {task.key for task in ended}
            self._tasks = {ref: seq for ref, seq in self._tasks.items() if ref in kept and ref not in done}
            return [reading.task_info(engine, task) for task in ended]
