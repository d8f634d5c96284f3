"""The public methods that set, control and list schedules."""

from __future__ import annotations

from .. import validate
from ..errors import InvalidArgumentError
from ..interface.schedules import SharedSchedules, StoreSchedules
from ..model import NewTask
from ..schedules import NAME_BYTES_MAX, CatchUp, Cron, Every, ScheduleInfo
from .base import SharedFront, StoreFront


class SharedSchedulesFront(SharedFront, SharedSchedules):
    """The methods of ``SharedSchedules``."""

    def set_schedule(
        self,
        schedule_id: str,
        when: Cron | Every,
        task: NewTask,
        *,
        catch_up: CatchUp = "latest",
        definition_hash: str = "",
    ) -> None:
        if not isinstance(when, (Cron, Every)):
            raise InvalidArgumentError(f"when must be a Cron or an Every, not {validate.shown(when)}")
        if not isinstance(task, NewTask):
            raise InvalidArgumentError(f"task must be a NewTask, not {validate.shown(task)}")
        for refused in ("depends_on", "available_at", "expires_at"):
            if getattr(task, refused, None):
                raise InvalidArgumentError(f"task must not have {refused}: each tick of a schedule adds one due task")
        if catch_up not in ("latest", "all", "none"):
            raise InvalidArgumentError(f"catch_up must be 'latest', 'all' or 'none', not {validate.shown(catch_up)}")
        self._backend.set_schedule(
            _schedule_id(schedule_id),
            when,
            task,
            catch_up=catch_up,
            definition_hash=validate.name("definition_hash", definition_hash, empty=True),
        )

    def remove_schedule(self, schedule_id: str) -> None:
        self._backend.remove_schedule(_schedule_id(schedule_id))

    def pause_schedule(self, schedule_id: str) -> None:
        self._backend.pause_schedule(_schedule_id(schedule_id))

    def resume_schedule(self, schedule_id: str) -> None:
        self._backend.resume_schedule(_schedule_id(schedule_id))


class StoreSchedulesFront(StoreFront, StoreSchedules):
    """The methods of ``StoreSchedules``."""

    def list_schedules(self) -> list[ScheduleInfo]:
        return self._backend.list_schedules()


def _schedule_id(value: object) -> str:
    schedule_id = validate.name("schedule_id", value)
    if (size := len(schedule_id.encode())) > NAME_BYTES_MAX:
        raise InvalidArgumentError(f"schedule_id is {size} bytes long; at most {NAME_BYTES_MAX}: {value!r}")
    return schedule_id
