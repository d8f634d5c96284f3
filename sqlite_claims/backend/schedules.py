"""The operations of an engine that set, control and list schedules."""

from __future__ import annotations

from typing import Protocol

from ..model import NewTask
from ..schedules import CatchUp, Cron, Every, ScheduleInfo


class SharedSchedulesBackend(Protocol):
    """The operations for schedules that stores and transactions share."""

    def set_schedule(
        self, schedule_id: str, when: Cron | Every, task: NewTask, *, catch_up: CatchUp, definition_hash: str
    ) -> None: ...

    def remove_schedule(self, schedule_id: str) -> None: ...

    def pause_schedule(self, schedule_id: str) -> None: ...

    def resume_schedule(self, schedule_id: str) -> None: ...


class StoreSchedulesBackend(Protocol):
    """The operations for schedules that only stores have."""

    def list_schedules(self) -> list[ScheduleInfo]: ...
