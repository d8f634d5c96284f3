"""The rules that set and control schedules, and set the wall clock by days."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from sqlite_claims import Cron, Every, RetryPolicy

from .base import Stores

schedule_ids = st.sampled_from(["s", "r"])
# A call to the file store adds at most 100 ticks, and a call to the oracle adds all, so there are never more than 100.
timings = st.sampled_from(
    [(Every(3600), "latest"), (Every(20), "none"), (Every(86_400), "all"), (Cron("30 */6 * * *"), "latest")]
)


class Schedules(Stores):
    """The rules that set and control schedules."""

    @precondition(lambda self: self.now_and_then(3))
    @rule(name=schedule_ids, timing=timings, kind=st.sampled_from([None, "x"]), delay=st.sampled_from([None, 10]))
    def set_schedule(self, name: str, timing: Any, kind: str | None, delay: int | None) -> None:
        when, catch_up = timing
        # Without jitter, because each store draws its jitter separately.
        retry = RetryPolicy(10, 2, 60, 0)
        task = self.new_task(task_id="t", kind=kind, retry=retry, due=None if delay is None else ("delay", delay))
        self.ask(lambda store: store.set_schedule(name, when, task, catch_up=catch_up))

    @precondition(lambda self: self.now_and_then(3))
    @rule(name=schedule_ids, control=st.sampled_from(["pause", "resume", "resume", "remove"]))
    def control_schedule(self, name: str, control: str) -> None:
        self.ask(lambda store: getattr(store, f"{control}_schedule")(name))

    @precondition(lambda self: self.now_and_then(5))
    @rule(days=st.sampled_from([-2, -2, -30, 2, 30]))
    def somebody_sets_the_wall_clock_by_days(self, days: int) -> None:
        self.write_something()
        self.clock.step_wall(days * 86_400)

    @invariant()
    def the_schedules_are_the_same(self) -> None:
        self.ask(lambda store: store.list_schedules())
