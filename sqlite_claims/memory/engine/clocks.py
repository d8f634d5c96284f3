"""The rules for the clocks: reboots, and sleeps of the machine."""

from __future__ import annotations

from ...model import TaskState
from .base import without_claim
from .claims import Claims

# A smaller difference doesn't count as a sleep of the machine, because the two clocks are read one after the other.
_SLEEP_US_MIN = 100_000


class Clocks(Claims):
    """The rules for the clocks: reboots, and sleeps of the machine."""

    def catch_up(self) -> None:
        """Read the clocks, and handle a reboot or a sleep of the machine before any operation."""
        state = self.state
        boot, boot_id = self.clock.boot_us(), self.clock.boot_id()
        slept = boot - self.clock.awake_us()
        if boot_id != state.boot_id or boot < state.boot:
            self._new_boot(boot_id, boot, slept)
        elif slept - state.slept > _SLEEP_US_MIN:
            self._prolong(slept - state.slept, state.boot + state.anchor)
            state.slept = slept
        state.boot = boot
        self.now = boot + state.anchor
        self.wall = self.clock.wall_us()

    def _new_boot(self, boot_id: str, boot: int, slept: int) -> None:
        """Handle a reboot: end all claims without a loss, let store time continue, and make later tokens larger."""
        state = self.state
        state.anchor += state.boot - boot
        state.boot_id, state.slept = boot_id, slept
        state.token_floor = ((state.token_floor >> 32) + 1) << 32
        state.sessions.clear()
        for key in list(state.held):
            state.put(without_claim(state.tasks[key], state=TaskState.READY, failed_on=None))

    def _prolong(self, by: int, last_seen: int) -> None:
        """Handle a sleep of the machine: prolong the leases that had not expired at the last call before the sleep."""
        for key in list(self.state.held):
            task = self.state.tasks[key]
            if task.expires is not None and task.expires > last_seen:
                self.extend(task, by)
