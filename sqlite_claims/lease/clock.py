"""The clocks that a store reads, all in integer microseconds, behind one seam that tests move.

Three clocks, because each answers another question:

* the *boot* clock orders tasks and ends leases: all processes of one boot share it and no clock step moves it;
* the *awake* clock stands still while the machine sleeps: what the boot clock has gained over it is sleep, by
  which leases are prolonged;
* the *wall* clock is for people, for pruning by age and for ``available_at`` alone.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# CLOCK_BOOTTIME is Linux's; elsewhere the monotonic clock is the nearest steady one.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """Where a store takes its time from."""

    def boot_us(self) -> int:
        """Microseconds since the machine started, sleep included."""

    def awake_us(self) -> int:
        """Microseconds on a clock that only runs while the machine is awake."""

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch, as the machine believes now."""

    def boot_id(self) -> str:
        """A name for this boot of the machine; another after each start."""


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def boot_us(self) -> int:
        if _BOOT_CLOCK is None:
            return time.monotonic_ns() // 1000
        return time.clock_gettime_ns(_BOOT_CLOCK) // 1000

    def awake_us(self) -> int:
        return time.monotonic_ns() // 1000

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def boot_id(self) -> str:
        try:
            return _BOOT_ID.read_text("ascii").strip()
        except OSError:
            # No boot id: the platform's name stands in, and a reboot shows by the boot clock running backwards.
            return sys.platform


SYSTEM_CLOCK = SystemClock()
