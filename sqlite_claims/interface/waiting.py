"""The Protocol of the methods that wait."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from ..model import Duration, InstanceInfo


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
