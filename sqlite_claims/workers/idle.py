"""Whether anything is left that a worker could ever do: how ``until_idle`` ends."""

from __future__ import annotations

import time
from collections.abc import Collection

from ..errors import NotFoundError
from ..interface import TaskClaimStore
from ..model import InstanceState, TaskInfo, TaskState

OPEN = frozenset({TaskState.READY, TaskState.SCHEDULED, TaskState.CLAIMED})
# Looking through all tasks takes at most this share of the time.
_SHARE_MAX = 0.1


class OpenWork:
    """Tasks of these tags and kinds that are ready, scheduled or claimed (by anyone) in an instance in progress."""

    def __init__(self, store: TaskClaimStore, tags: Collection[str] | None, kinds: Collection[str] | None) -> None:
        self._store = store
        self._tags = frozenset(tags or ())
        self._kinds = kinds
        # One open task is proof enough: while it stays open, nothing else has to be looked through.
        self._witness: tuple[str, str] | None = None
        self._look_through_at = 0.0

    def exists(self) -> bool:
        """Whether there is such a task; ``True`` also where it is too early to look through all of them again."""
        if self._witness is not None and self._is_open(*self._witness):
            return True
        self._witness = None
        counts = self._store.stats().counts
        if not any(counts[state] for state in OPEN):
            return False
        if any(self._is_open(claim.instance_id, claim.task_id) for claim in self._store.list_claims()):
            return True
        began = time.monotonic()
        if began < self._look_through_at:
            return True
        found = any(self._counts(task) for task in self._store.list_tasks(states=OPEN, kinds=self._kinds))
        now = time.monotonic()
        self._look_through_at = now + (now - began) / _SHARE_MAX
        # A list is read in pages: something may have slipped through unless nothing moved meanwhile.
        return found or self._store.stats().counts != counts

    def _is_open(self, instance_id: str, task_id: str) -> bool:
        try:
            return self._counts(self._store.get_task(instance_id, task_id))
        except NotFoundError:
            return False

    def _counts(self, task: TaskInfo) -> bool:
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
