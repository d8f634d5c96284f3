"""The rules for the sweep and for the search for work."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile

from ...model import InstanceState, TaskState
from ..records import Entry, Task, TaskKey
from .claims import Claims
from .schedules import Schedules


class Search(Claims, Schedules):
    """The rules for the sweep and for the search for work."""

    def sweep(self) -> None:
        """Do the clean-up before a search for work: dead sessions, due tasks, expired last claims."""
        self.expire_tasks()
        for session in self.dead_sessions & self.state.sessions.keys():
            self._lose_claims_of(session)
        self.add_ticks()
        self._settle_the_calendar()
        for _, _, key in list(takewhile(self._has_come, self.state.last_claims)):
            if self.state.instances[key[0]].state is InstanceState.IN_PROGRESS:
                self._lose(self.state.tasks[key], "the claim expired")

    def expire_tasks(self) -> None:
        """Cancel all tasks that have expired."""
        for _, _, key in list(takewhile(lambda entry: entry[0] <= self.wall, self.state.expiring)):
            if self._is_expired(self.state.tasks[key]):  # not cancelled yet as the dependent of another expired task
                self.expire(self.state.tasks[key])

    def sweep_task(self, task: Task) -> None:
        """Do the part of the sweep that concerns one task."""
        if self._is_expired(task):
            self.expire(task)
            return
        if task.session in self.dead_sessions:
            self._lose_claims_of(task.session)
            return
        if task.state is TaskState.READY and task.place is None:
            self._settle_the_calendar(task)
        in_progress = self.state.instances[task.instance_id].state is InstanceState.IN_PROGRESS
        if in_progress and self.has_expired(task) and task.is_last_claim:
            self._lose(task, "the claim expired")

    def _lose_claims_of(self, session: int) -> None:
        for key in list(self.state.held):
            if self.state.tasks[key].session == session:
                self._lose(self.state.tasks[key], "the worker's process ended")
        del self.state.sessions[session]

    def _settle_the_calendar(self, just: Task | None = None) -> None:
        """Give each task that is due by the wall clock its position: the store time at which the task became due."""
        for due, _, key in list(takewhile(lambda entry: entry[0] <= self.wall, self.state.by_calendar)):
            if just is None or just.key == key:
                self.state.put(replace(self.state.tasks[key], place=self.now - (self.wall - due)))

    def _has_come(self, entry: Entry) -> bool:
        return entry[0] <= self.now

    def can_be_claimed(self, task: Task) -> bool:
        """Return whether the task is ready or has an expired claim (not a last claim), in an instance in progress."""
        if self.state.instances[task.instance_id].state is not InstanceState.IN_PROGRESS:
            return False
        if task.state is TaskState.READY:
            return task.place is not None and task.place <= self.now
        return self.has_expired(task) and not task.is_last_claim

    def available(self, tags: frozenset[str], kinds: frozenset[str] | None, limited: int = 1) -> Iterator[Task]:
        """Iterate over the tasks that a worker with these tags and kinds could claim together, in order.

        ``limited``: the largest number of tasks with a limit.
        """
        aging = self.state.aging

        def ranked(priority: int, timeline: list[Entry]) -> Iterator[tuple[int, int, int, TaskKey]]:
            for when, seq, key in takewhile(self._has_come, timeline):
                # The order by priority * aging + when is the order by priority - waiting time / aging, without
                # rounding.
                yield (priority, when, seq, key) if aging is None else (priority * aging + when, 0, seq, key)

        wanted = (
            ranked(priority, timeline)
            for (priority, kind, needed), timeline in self.state.claimable.items()
            if (kinds is None or kind in kinds) and (not tags or tags.issuperset(needed))
        )
        free: dict[str, int | None] = {}
        for _, _, _, key in heapq.merge(*wanted):
            task = self.state.tasks[key]
            if not self.is_in_progress(task):
                continue
            partition = task.spec.limit
            if partition is not None:
                if partition not in free:
                    free[partition] = self.free_slots(task)
                slots = free[partition]
                if limited == 0 or slots == 0:
                    continue
                limited -= 1
                free[partition] = None if slots is None else slots - 1
            yield task
