"""The operations of an engine that control, read and remove instances."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol

from ..model import InstanceInfo, InstanceState
from .types import Steps


class SharedInstancesBackend(Protocol):
    """The operations for instances that stores and transactions share."""

    def pause_instance(self, instance_id: str) -> Steps: ...

    def resume_instance(self, instance_id: str) -> Steps: ...

    def cancel_instance(self, instance_id: str, *, reason: str | None) -> Steps: ...

    def get_instance(self, instance_id: str) -> InstanceInfo: ...


class StoreInstancesBackend(Protocol):
    """The operations for instances that only stores have."""

    def list_instances(self, *, states: Collection[InstanceState] | None) -> Iterator[list[InstanceInfo]]: ...

    def prune(self, *, older_than_us: int, limit: int) -> tuple[int, Steps]:
        """Remove ended instances. Return the number of removed instances, and the steps that remove their tasks."""
