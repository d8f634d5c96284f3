"""A clock for tests of programs that use a claim store.

``InMemoryClaimStore(clock=ManualClock())`` and ``SqliteClaimStore(path, clock=ManualClock())`` see time pass only when
the test says so.
"""

from __future__ import annotations

from datetime import timedelta


class ManualClock:
    """A clock that stands still until the test moves it.

    Share one clock between all stores of a test. It is not for stores that several processes open.

    Example: ``clock.advance(30)`` ends a claim that was made with ``ttl=30``.
    """

    def __init__(self, *, wall: float = 1_700_000_000.0) -> None:
        """Create a clock.

        Args:
            wall: First reading of the wall clock, in Unix seconds.
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
        """Let time pass while the machine is awake.

        Args:
            seconds: Seconds, or a ``timedelta``.
        """
        us = _us(seconds)
        self._boot += us
        self._awake += us
        self._wall += us

    def sleep(self, seconds: float | timedelta) -> None:
        """Suspend the machine: leases stop meanwhile, delays continue.

        Args:
            seconds: Seconds, or a ``timedelta``.
        """
        us = _us(seconds)
        self._boot += us
        self._wall += us

    def step_wall(self, seconds: float | timedelta) -> None:
        """Change the wall clock alone, as an administrator or NTP does.

        Args:
            seconds: Seconds (or a ``timedelta``) forwards; negative: backwards.
        """
        self._wall += _us(seconds)

    def reboot(self) -> None:
        """Restart the machine. Close all stores before this call, as a reboot would."""
        self._boots += 1
        self._boot = 5_000_000
        self._awake = 5_000_000


def _us(seconds: float | timedelta) -> int:
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    return round(seconds * 1e6)
