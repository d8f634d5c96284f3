"""The Protocols of the methods that set, control and list schedules."""

from __future__ import annotations

from typing import Protocol

from ..model import NewTask
from ..schedules import CatchUp, Cron, Every, ScheduleInfo


class SharedSchedules(Protocol):
    """The methods for schedules that stores and transactions share."""

    def set_schedule(
        self,
        schedule_id: str,
        when: Cron | Every,
        task: NewTask,
        *,
        catch_up: CatchUp = "latest",
        definition_hash: str = "",
    ) -> None:
        """Add a schedule, or change the schedule of this name.

        Each tick of the schedule adds an instance with one task. Every call that looks for work adds due ticks, in any
        process. The name of the instance is ``schedule_id``, ``"@"`` and the time of the tick in UTC, for example
        ``"report@2026-03-01T02:00:00Z"``. Each tick is added once, however many processes use the store.

        If the same schedule is stored already, the call changes nothing. The ticks of a new or changed schedule count
        from now. A paused schedule stays paused.

        Args:
            schedule_id: Name of the schedule, at most 228 bytes.
            when: The times of the ticks.
            task: The task that each tick adds. The task is due at the tick; a ``delay`` of the task begins at the tick.
                With a ``unique_key``, a tick is skipped while an earlier task with this key is open.
            catch_up: The ticks that are added after a time in which no process looked for work. ``"latest"``: only the
                newest. ``"all"``: the newest 1,000, oldest first. ``"none"``: those that are less than a minute late.
            definition_hash: Text that is stored with each instance.

        Raises:
            InvalidArgumentError: An argument is wrong, or the task has ``depends_on``, ``available_at`` or
                ``expires_at``.
        """

    def remove_schedule(self, schedule_id: str) -> None:
        """Remove a schedule. The instances of earlier ticks stay.

        Args:
            schedule_id: Name of the schedule.

        Raises:
            NotFoundError: There is no such schedule.
        """

    def pause_schedule(self, schedule_id: str) -> None:
        """Pause a schedule. Ticks during the pause are not made up for.

        If the schedule is paused already, the call does nothing.

        Args:
            schedule_id: Name of the schedule.

        Raises:
            NotFoundError: There is no such schedule.
        """

    def resume_schedule(self, schedule_id: str) -> None:
        """Resume a paused schedule. Its ticks count from now.

        If the schedule is not paused, the call does nothing.

        Args:
            schedule_id: Name of the schedule.

        Raises:
            NotFoundError: There is no such schedule.
        """


class StoreSchedules(Protocol):
    """The methods for schedules that only stores have."""

    def list_schedules(self) -> list[ScheduleInfo]:
        """Return all schedules, sorted by name."""
