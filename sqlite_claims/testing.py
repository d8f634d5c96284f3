"""A clock for tests of programs that use a claim store.

In ``InMemoryClaimStore(clock=ManualClock())`` and ``SqliteClaimStore(path, clock=ManualClock())``, time passes only
when the test changes the clock.
"""

from __future__ import annotations

from datetime import timedelta


class ManualClock:
    """A clock that changes only when the test changes it.

    Share one clock between all stores of a test. Do not use a ``ManualClock`` for a store that several processes open.

    Example: ``clock.advance(30)`` ends a claim that was made with ``ttl=30``.
    """

    def __init__(self, *, wall: float = 1_700_000_000.0) -> None:
        """Create a clock.

        Args:
            wall: Time of the wall clock at the start, in Unix seconds.
        """
        self._boot = 1_000_000_000
        self._awake = 1_000_000_000
        self._wall = round(wall * 1e6)
        self._boots = 1

    def boot_us(self) -> int:
        return self._boot

    def awake_us(self) -> int:
        return self._awake

    def wall_us(self) -> int:
        return self._wall

    def boot_id(self) -> str:
        return f"boot-{self._boots}"

    def advance(self, seconds: float | timedelta) -> None:
        """Simulate that the machine is awake for this time.

        Args:
            seconds: Seconds, or a ``timedelta``.
        """
        us = _us(seconds)
        self._boot += us
        self._awake += us
        self._wall += us

    def sleep(self, seconds: float | timedelta) -> None:
        """Simulate that the machine sleeps for this time. The time counts towards delays, but not towards leases.

        Args:
            seconds: Seconds, or a ``timedelta``.
        """
        us = _us(seconds)
        self._boot += us
        self._wall += us

    def step_wall(self, seconds: float | timedelta) -> None:
        """Change only the wall clock, as an administrator or NTP does.

        Args:
            seconds: Seconds, or a ``timedelta``. A negative value sets the clock back.
        """
        self._wall += _us(seconds)

    def reboot(self) -> None:
        """Simulate a reboot. Close all stores before this call, because a real reboot would end their processes."""
        self._boots += 1
        self._boot = 5_000_000
        self._awake = 5_000_000


def _us(seconds: float | timedelta) -> int:
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    return round(seconds * 1e6)
