"""The rules for controlling and removing instances."""

from __future__ import annotations

from dataclasses import replace

from ...errors import InvalidStateError
from ...model import InstanceState, TaskState
from ..records import OPEN_STATES
from .base import EngineBase, without_claim


class Instances(EngineBase):
    """The rules for controlling and removing instances."""

    def pause(self, instance_id: str) -> None:
        instance = self.instance(instance_id)
        if instance.state.has_ended:
            raise InvalidStateError(
                f"Instance {instance_id!r} is {instance.state}: it can't be paused", instance_id=instance_id
            )
        self._put_instance(instance, InstanceState.PAUSED)

    def resume(self, instance_id: str) -> None:
        instance = self.instance(instance_id)
        if instance.state is InstanceState.CANCELLED:
            raise InvalidStateError(
                f"Instance {instance_id!r} is cancelled: it can't be resumed", instance_id=instance_id
            )
        if instance.state is InstanceState.PAUSED:
            self._put_instance(instance, InstanceState.IN_PROGRESS)

    def cancel(self, instance_id: str, reason: str | None) -> None:
        instance = self.instance(instance_id)
        if instance.state is InstanceState.CANCELLED:
            if not instance.sealed:
                self.state.instances[instance_id] = replace(instance, sealed=True, reason=reason)
            return
        if instance.state.has_ended:
            raise InvalidStateError(
                f"Instance {instance_id!r} is {instance.state}: it can't be cancelled", instance_id=instance_id
            )
        for task in list(self.state.members_of(instance_id)):
            if task.state in OPEN_STATES:
                self.state.put(without_claim(task, state=TaskState.CANCELLED, finished_wall=self.wall, ended=self.now))
        self._put_instance(replace(instance, sealed=True), InstanceState.CANCELLED, reason)

    def prune(self, older_than_us: int, limit: int) -> int:
        state = self.state
        ended = [
            (instance.finished_wall, instance.seq, instance.instance_id)
            for instance in state.instances.values()
            if instance.finished_wall is not None and instance.finished_wall < self.wall - older_than_us
        ]
        for _, _, instance_id in (gone := sorted(ended)[:limit]):
            tokens = (task.token for task in state.members_of(instance_id))
            state.token_floor = max(state.token_floor, *tokens, 0)
            state.remove_instance(instance_id)
        return len(gone)
