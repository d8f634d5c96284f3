"""The rules for schedules and their ticks."""

from __future__ import annotations

from dataclasses import replace

from ...errors import NotFoundError
from ...model import NewTask, TaskState
from ...schedules import CatchUp, Cron, Every, tick_name, tick_task
from ...validate import WALL_US_MAX
from ..records import Schedule
from .tasks import Tasks

_MINUTE_US = 60_000_000
_DAY_US = 24 * 60 * _MINUTE_US
_MISSED_MAX = 1_000
_TIMELINES_MAX = 8


class Schedules(Tasks):
    """The rules for schedules and their ticks."""

    def set_schedule(
        self, schedule_id: str, when: Cron | Every, task: NewTask, catch_up: CatchUp, definition_hash: str
    ) -> None:
        old = self.state.schedules.get(schedule_id)
        wanted = (when, task, catch_up, definition_hash)
        if old is not None:
            if wanted == (old.when, old.task, old.catch_up, old.definition_hash):
                return
            last, is_paused = old.last_wall, old.is_paused
        else:
            last, is_paused = None, False
        self._count_from_now(
            Schedule(schedule_id, *wanted, done=(), offset=0, next_wall=None, last_wall=last, is_paused=is_paused)
        )

    def _count_from_now(self, schedule: Schedule) -> None:
        next_wall = None if schedule.is_paused else self._next(schedule, self.wall)
        self.state.schedules[schedule.schedule_id] = replace(
            schedule, done=(self.wall,), offset=self.wall - self.now, next_wall=next_wall
        )

    def _next(self, schedule: Schedule, after: int) -> int:
        tick = schedule.when.next_after(after)
        return WALL_US_MAX if tick is None else tick

    def _schedule(self, schedule_id: str) -> Schedule:
        try:
            return self.state.schedules[schedule_id]
        except KeyError:
            raise NotFoundError(f"There is no schedule {schedule_id!r}") from None

    def remove_schedule(self, schedule_id: str) -> None:
        del self.state.schedules[self._schedule(schedule_id).schedule_id]

    def pause_schedule(self, schedule_id: str) -> None:
        paused = replace(self._schedule(schedule_id), is_paused=True, next_wall=None)
        self.state.schedules[schedule_id] = paused

    def resume_schedule(self, schedule_id: str) -> None:
        schedule = self._schedule(schedule_id)
        if schedule.is_paused:
            self._count_from_now(replace(schedule, is_paused=False))

    def add_ticks(self) -> None:
        """Add the instances of all due ticks."""
        for schedule in list(self.state.schedules.values()):
            step = self.wall - self.now - schedule.offset
            if schedule.next_wall is not None and (schedule.next_wall <= self.wall or step <= -_DAY_US):
                self._add_ticks_of(schedule, step)

    def _add_ticks_of(self, schedule: Schedule, step: int) -> None:
        done = self._done_at(schedule, step)
        missed = schedule.when.newest(after_us=done[-1], until_us=self.wall, count=self._most(schedule))
        last_wall = schedule.last_wall
        for tick in missed:
            if (schedule.catch_up != "none" or self.wall - tick < _MINUTE_US) and self._add_tick(schedule, tick):
                last_wall = tick
        newest = missed[-1] if missed else done[-1]
        self.state.schedules[schedule.schedule_id] = replace(
            schedule,
            done=(*done[:-1], newest),
            offset=self.wall - self.now,
            next_wall=self._next(schedule, newest),
            last_wall=last_wall,
        )

    def _most(self, schedule: Schedule) -> int:
        if schedule.catch_up == "none":
            return schedule.when.most_in(_MINUTE_US)
        return 1 if schedule.catch_up == "latest" else _MISSED_MAX

    def _done_at(self, schedule: Schedule, step: int) -> tuple[int, ...]:
        """Return the times until which ticks are done, highest first: one for each timeline of the wall clock."""
        reached = self.wall + (_DAY_US if step >= _DAY_US else 0)
        # The clock has returned to the first timeline whose time is reached. The later timelines are over.
        first = next((n for n, time in enumerate(schedule.done) if time < reached), len(schedule.done) - 1)
        done = schedule.done[: first + 1]
        behind = done[-1] - self.wall
        if behind > 0 and (step <= -_DAY_US or behind >= _DAY_US):
            done = (*done, self.wall)
        return done[-_TIMELINES_MAX:]

    def _add_tick(self, schedule: Schedule, tick: int) -> bool:
        name = tick_name(schedule.schedule_id, tick)
        if not self.add_instance(name, [tick_task(schedule.task, tick)], schedule.definition_hash, True):
            return False
        for task in list(self.state.members_of(name)):
            if task.state is TaskState.READY and task.due_wall is not None and task.due_wall <= self.wall:
                self.state.put(replace(task, place=self.now - (self.wall - task.due_wall)))
        return True
