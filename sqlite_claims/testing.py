"""A clock for tests of programs that use a claim store.

In ``InMemoryClaimStore(clock=ManualClock())`` and ``SqliteClaimStore(path, clock=ManualClock())``, time passes only
when the test changes the clock.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import MutableSequence
from contextlib import suppress
from datetime import timedelta

_BOOT, _AWAKE, _WALL, _BOOTS = range(4)


class ManualClock:
    """A clock that changes only when the test changes it.

    Share one clock between all stores of a test. If several processes open the
    store, use a ``MappedClock``.

    Example: ``clock.advance(30)`` ends a claim that was made with ``ttl=30``.
    """

    def __init__(self, *, wall: float = 1_700_000_000.0) -> None:
        """Create a clock.

        Args:
            wall: Time of the wall clock at the start, in Unix seconds.
        """
        # The clock since the start of the machine, the same without sleep, the wall clock, and the number of boots.
        self._us: MutableSequence[int] | memoryview[int] = [1_000_000_000, 1_000_000_000, round(wall * 1e6), 1]

    def boot_us(self) -> int:
        return self._us[_BOOT]

    def awake_us(self) -> int:
        return self._us[_AWAKE]

    def wall_us(self) -> int:
        return self._us[_WALL]

    def boot_id(self) -> str:
        return f"boot-{self._us[_BOOTS]}"

    def advance(self, seconds: float | timedelta) -> None:
        """Simulate that the machine is awake for this time.

        Args:
            seconds: Seconds, or a ``timedelta``.
        """
        us = _us(seconds)
        self._us[_BOOT] += us
        self._us[_AWAKE] += us
        self._us[_WALL] += us

    def sleep(self, seconds: float | timedelta) -> None:
        """Simulate that the machine sleeps for this time. The time counts towards delays, but not towards leases.

        Args:
            seconds: Seconds, or a ``timedelta``.
        """
        us = _us(seconds)
        self._us[_BOOT] += us
        self._us[_WALL] += us

    def step_wall(self, seconds: float | timedelta) -> None:
        """Change only the wall clock, as an administrator or NTP does.

        Args:
            seconds: Seconds, or a ``timedelta``. A negative value sets the clock back.
        """
        self._us[_WALL] += _us(seconds)

    def reboot(self) -> None:
        """Simulate a reboot. Close all stores before this call, because a real reboot would end their processes."""
        self._us[_BOOTS] += 1
        self._us[_BOOT] = 5_000_000
        self._us[_AWAKE] = 5_000_000


class MappedClock(ManualClock):
    """A ``ManualClock`` that all processes of a test read from one mapped file.

    A process that changes the clock changes it for all processes. Only one process at a time may change the clock.

    Example: each process opens the store with ``SqliteClaimStore(path, clock=MappedClock("clock"))``.
    """

    def __init__(self, path: str | os.PathLike[str], *, wall: float = 1_700_000_000.0) -> None:
        """Open the clock in a file. If there is no such file, create a clock.

        Args:
            path: Path of the file.
            wall: Time of the wall clock in a new file, in Unix seconds.
        """
        super().__init__(wall=wall)
        with suppress(FileExistsError), open(path, "xb") as new:
            new.write(struct.pack("4q", *self._us))
        with open(path, "r+b") as file:
            self._us = memoryview(mmap.mmap(file.fileno(), 32)).cast("q")


def _us(seconds: float | timedelta) -> int:
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    return round(seconds * 1e6)
