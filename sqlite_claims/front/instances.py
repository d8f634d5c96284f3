"""The public methods that control, read and remove instances."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .. import validate
from ..interface.instances import SharedInstances, StoreInstances
from ..model import Duration, InstanceInfo, InstanceState
from .base import SharedFront, StoreFront
from .paging import first, maximum
from .steps import take


class SharedInstancesFront(SharedFront, SharedInstances):
    """The methods of ``SharedInstances``."""

    def pause_instance(self, instance_id: str) -> None:
        take(self._backend.pause_instance(validate.name("instance_id", instance_id)))

    def resume_instance(self, instance_id: str) -> None:
        take(self._backend.resume_instance(validate.name("instance_id", instance_id)))

    def cancel_instance(self, instance_id: str, reason: str | None = None) -> None:
        text = None if reason is None else validate.text("reason", reason)
        take(self._backend.cancel_instance(validate.name("instance_id", instance_id), reason=text))

    def get_instance(self, instance_id: str) -> InstanceInfo:
        return self._backend.get_instance(validate.name("instance_id", instance_id))


class StoreInstancesFront(StoreFront, StoreInstances):
    """The methods of ``StoreInstances``."""

    def list_instances(
        self, *, states: Collection[InstanceState] | None = None, limit: int | None = None
    ) -> Iterator[InstanceInfo]:
        number = maximum(limit)
        return first(number, self._backend.list_instances(states=validate.states("states", states, InstanceState)))

    def prune(self, older_than: Duration, *, limit: int = 1000) -> int:
        pruned, steps = self._backend.prune(
            older_than_us=validate.duration_us("older_than", older_than), limit=validate.limit(limit)
        )
        take(steps)
        return pruned
