"""The operations that control, read and remove instances."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ...backend import Steps
from ...model import InstanceInfo, InstanceState
from .. import reading
from ..engine import Engine
from .base import MemoryOperations, MemoryStoreOperations


class MemorySharedInstances(MemoryOperations):
    """The operations of ``SharedInstancesBackend``."""

    def pause_instance(self, instance_id: str) -> Steps:
        with self._engine() as engine:
            engine.pause(instance_id)
        return ()

    def resume_instance(self, instance_id: str) -> Steps:
        with self._engine() as engine:
            engine.resume(instance_id)
        return ()

    def cancel_instance(self, instance_id: str, *, reason: str | None) -> Steps:
        with self._engine() as engine:
            engine.cancel(instance_id, reason)
        return ()

    def get_instance(self, instance_id: str) -> InstanceInfo:
        with self._engine(writes=False) as engine:
            return reading.instance_info(engine, instance_id)


class MemoryStoreInstances(MemorySharedInstances, MemoryStoreOperations):
    """The operations of ``SharedInstancesBackend`` and ``StoreInstancesBackend``."""

    def list_instances(self, *, states: Collection[InstanceState] | None) -> Iterator[list[InstanceInfo]]:
        with self._engine(writes=False) as engine:
            names = list(engine.state.instances)

        def show(engine: Engine, name: str) -> InstanceInfo | None:
            instance = engine.state.instances.get(name)
            is_shown = instance is not None and (states is None or instance.state in states)
            return reading.instance_info(engine, name) if is_shown else None

        return self._each(names, show)

    def prune(self, *, older_than_us: int, limit: int) -> tuple[int, Steps]:
        with self._engine() as engine:
            return engine.prune(older_than_us, limit), ()
