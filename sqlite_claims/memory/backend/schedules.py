"""The operations that set, control and list schedules."""

from __future__ import annotations

from ...model import NewTask
from ...schedules import CatchUp, Cron, Every, ScheduleInfo
from .. import reading
from .base import MemoryOperations, MemoryStoreOperations


class MemorySharedSchedules(MemoryOperations):
    """The operations of ``SharedSchedulesBackend``."""

    def set_schedule(
        self, schedule_id: str, when: Cron | Every, task: NewTask, *, catch_up: CatchUp, definition_hash: str
    ) -> None:
        with self._engine() as engine:
            engine.set_schedule(schedule_id, when, task, catch_up, definition_hash)

    def remove_schedule(self, schedule_id: str) -> None:
        with self._engine() as engine:
            engine.remove_schedule(schedule_id)

    def pause_schedule(self, schedule_id: str) -> None:
        with self._engine() as engine:
            engine.pause_schedule(schedule_id)

    def resume_schedule(self, schedule_id: str) -> None:
        with self._engine() as engine:
            engine.resume_schedule(schedule_id)


class MemoryStoreSchedules(MemorySharedSchedules, MemoryStoreOperations):
    """The operations of ``SharedSchedulesBackend`` and ``StoreSchedulesBackend``."""

    def list_schedules(self) -> list[ScheduleInfo]:
        with self._engine(writes=False) as engine:
            return [reading.schedule_info(schedule) for _, schedule in sorted(engine.state.schedules.items())]
