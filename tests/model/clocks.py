"""The rules that move the clocks and restart processes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from .base import Stores


class Clocks(Stores):
    """The rules that move the clocks and restart processes."""

    @rule(by=st.sampled_from([10, 10, 30, 60]))
    def time_passes(self, by: int) -> None:
        self.clock.advance(by)

    @rule()
    def time_passes_until_most_claims_have_expired(self) -> None:
        self.clock.advance(100)

    @precondition(lambda self: self.now_and_then(3))
    @rule(by=st.sampled_from([-3600, -20, 20, 3600]))
    def somebody_sets_the_wall_clock(self, by: int) -> None:
        self.clock.step_wall(by)

    @precondition(lambda self: self.now_and_then(3))
    @rule(by=st.sampled_from([30, 3600]))
    def the_machine_sleeps(self, by: int) -> None:
        self.write_something()
        self.clock.sleep(by)
        self.write_something()

    @precondition(lambda self: self.now_and_then(6))
    @rule(how=st.sampled_from(["process ends", "process dies", "machine"]))
    def the_process_or_the_machine_restarts(self, how: str) -> None:
        self.restart(how)
