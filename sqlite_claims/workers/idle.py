"""Detects that no task is left that a worker could ever run. Then a run that was started with ``until_idle`` ends."""

from __future__ import annotations

import time
from collections.abc import Collection

from ..errors import NotFoundError
from ..interface import TaskClaimStore
from ..model import InstanceState, TaskInfo, TaskState

OPEN = frozenset({TaskState.READY, TaskState.SCHEDULED, TaskState.CLAIMED})
# The largest fraction of the worker's time that the worker may spend on listing all tasks.
_LISTING_SHARE_MAX = 0.1


class IdleDetector:
    """Searches for open tasks that a worker with these tags and kinds could run.

    A task is open if it is ready, scheduled or claimed (by any worker) in an instance in progress.
    """

    def __init__(self, store: TaskClaimStore, *, tags: Collection[str] | None, kinds: Collection[str] | None) -> None:
        self._store = store
        self._tags = frozenset(tags or ())
        self._kinds = kinds
        # The instance id and task id of the open task that was found last. While this task stays open, the detector
        # does not have to list all tasks.
        self._witness: tuple[str, str] | None = None
        self._next_listing_at = 0.0

    def is_idle(self) -> bool:
        """Return whether no task is open that the worker could run. Also return ``False`` if this is unknown because
        it is too early to list all tasks again."""
        if self._witness is not None and self._is_open(*self._witness):
            return False
        self._witness = None
        counts = self._store.stats().counts
        if not any(counts[state] for state in OPEN):
            return True
        if any(self._is_open(claim.instance_id, claim.task_id) for claim in self._store.list_claims()):
            return False
        began = time.monotonic()
        if began < self._next_listing_at:
            return False
        has_open_task = any(self._admits(task) for task in self._store.list_tasks(states=OPEN, kinds=self._kinds))
        now = time.monotonic()
        self._next_listing_at = now + (now - began) / _LISTING_SHARE_MAX
        # The list is read in pages, and a task that changes during the reading may be on no page. So the list proves
        # that no task is open only if the counts of tasks are the same as before the reading.
        return not has_open_task and self._store.stats().counts == counts

    def _is_open(self, instance_id: str, task_id: str) -> bool:
        try:
            return self._admits(self._store.get_task(instance_id, task_id))
        except NotFoundError:
            return False

    def _admits(self, task: TaskInfo) -> bool:
        """Return whether the task is open and the worker could run it. If so, store the task's ids in ``_witness``."""
        if task.state not in OPEN or (self._kinds is not None and task.kind not in self._kinds):
            return False
        if self._tags and not self._tags.issuperset(task.tags):
            return False
        try:
            instance = self._store.get_instance(task.instance_id)
        except NotFoundError:
            return False
        if instance.state is not InstanceState.IN_PROGRESS:
            return False
        self._witness = (task.instance_id, task.task_id)
        return True
