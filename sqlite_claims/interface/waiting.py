"""The Protocol of the methods that wait."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from ..model import Duration, InstanceInfo, TaskInfo


class StoreWaiting(Protocol):
    """The methods that wait. Only stores have these methods."""

    def wait_for_tasks(
        self, timeout: Duration, *, tags: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> bool:
        """Wait until a task can be claimed. After the wait, a different worker may claim the task first.

        Args:
            timeout: Seconds (or a ``timedelta``) to wait at most.
            tags: As in ``find_available_tasks``.
            kinds: As in ``find_available_tasks``.

        Returns:
            ``True`` as soon as a task can be claimed. ``False`` if no task can be claimed until the timeout.
        """

    def wait_for_task(self, instance_id: str, task_id: str, timeout: Duration) -> TaskInfo | None:
        """Wait until a task has ended: completed, failed or cancelled.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task.
            timeout: Seconds (or a ``timedelta``) to wait at most.

        Returns:
            The ended task. ``None`` if the task has not ended at the timeout.

        Raises:
            NotFoundError: There is no such task, or the task is deleted during the wait.
        """

    def wait_for_any(self, refs: Iterable[tuple[str, str]], timeout: Duration) -> list[TaskInfo]:
        """Wait until at least one of several tasks has ended. If many tasks end within 50 ms, one call may return all.

        Args:
            refs: Pairs of the names of an instance and a task.
            timeout: Seconds (or a ``timedelta``) to wait at most.

        Returns:
            The tasks that have ended, each once, in the order of their ends. The list is empty at the timeout, and if
            no task is left, because ``refs`` is empty or all tasks are deleted during the wait.

        Raises:
            NotFoundError: One of the tasks does not exist.
        """

    def wait_for_instance(self, instance_id: str, timeout: Duration) -> InstanceInfo | None:
        """Wait until an instance has ended: completed, failed or cancelled.

        Args:
            instance_id: Name of the instance.
            timeout: Seconds (or a ``timedelta``) to wait at most.

        Returns:
            The ended instance. ``None`` if the instance has not ended at the timeout.

        Raises:
            NotFoundError: There is no such instance.
        """
