"""The operations that set, control and list schedules."""

from __future__ import annotations

from ...model import NewTask
from ...schedules import CatchUp, Cron, Every, ScheduleInfo
from ..operations import schedules
from .base import SqliteOperations, SqliteStoreOperations


class SqliteSharedSchedules(SqliteOperations):
    """The operations of ``SharedSchedulesBackend``."""

    def set_schedule(
        self, schedule_id: str, when: Cron | Every, task: NewTask, *, catch_up: CatchUp, definition_hash: str
    ) -> None:
        self._write(
            schedules.set_schedule,
            True,
            schedule_id,
            when,
            task,
            catch_up=catch_up,
            definition_hash=definition_hash,
        )

    def remove_schedule(self, schedule_id: str) -> None:
        self._write(schedules.remove_schedule, True, schedule_id)

    def pause_schedule(self, schedule_id: str) -> None:
        self._write(schedules.pause_schedule, True, schedule_id)

    def resume_schedule(self, schedule_id: str) -> None:
        self._write(schedules.resume_schedule, True, schedule_id)


class SqliteStoreSchedules(SqliteSharedSchedules, SqliteStoreOperations):
    """The operations of ``SharedSchedulesBackend`` and ``StoreSchedulesBackend``."""

    def list_schedules(self) -> list[ScheduleInfo]:
        return self._read(schedules.list_schedules)
