"""The Protocols of the methods that control, read and remove instances."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Protocol

from ..model import Duration, InstanceInfo, InstanceState


class SharedInstances(Protocol):
    """The methods for instances that stores and transactions share."""

    def pause_instance(self, instance_id: str) -> None:
        """Stop handing out the tasks of an instance until the instance is resumed.

        Workers that hold claims may continue and settle the claims. If the instance is already paused, the call
        does nothing.

        Args:
            instance_id: Name of the instance.

        Raises:
            NotFoundError: There is no such instance.
            InvalidStateError: The instance has ended.
        """

    def resume_instance(self, instance_id: str) -> None:
        """Resume a paused instance. Each task keeps its position.

        If the instance is not paused, the call does nothing.

        Args:
            instance_id: Name of the instance.

        Raises:
            NotFoundError: There is no such instance.
            InvalidStateError: The instance is cancelled.
        """

    def cancel_instance(self, instance_id: str, reason: str | None = None) -> None:
        """Cancel an instance permanently.

        All tasks of the instance that have not ended are ``CANCELLED``, and their claims are lost. If the
        instance is already cancelled, the call does nothing.

        Args:
            instance_id: Name of the instance.
            reason: Text that is stored with the instance.

        Raises:
            NotFoundError: There is no such instance.
            InvalidStateError: The instance is completed or failed.
        """

    def get_instance(self, instance_id: str) -> InstanceInfo:
        """Return all information about one instance, including the number of tasks in each state.

        Args:
            instance_id: Name of the instance.

        Raises:
            NotFoundError: There is no such instance.
        """


class StoreInstances(Protocol):
    """The methods for instances that only stores have."""

    def list_instances(
        self, *, states: Collection[InstanceState] | None = None, limit: int | None = None
    ) -> Iterator[InstanceInfo]:
        """Iterate over the instances in the order in which they were added.

        The instances are read in pages, and no read transaction is held between pages.

        Args:
            states: Return only instances in these states. ``None``: all.
            limit: Maximum number of instances. ``None``: all.
        """

    def prune(self, older_than: Duration | timedelta, *, limit: int = 1000) -> int:
        """Remove instances that ended long enough ago, with their tasks.

        Instances to which a running ``map``, ``add`` or ``durable_map`` still adds tasks are skipped.

        Args:
            older_than: Remove instances that ended more than this many seconds (or this ``timedelta``) ago, by the wall
                clock.
            limit: Maximum number of removed instances.

        Returns:
            The number of removed instances.
        """
