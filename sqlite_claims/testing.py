"""For tests of programs that use a claim store: a clock that the test moves.

``InMemoryClaimStore(clock=ManualClock())`` and ``SqliteClaimStore(path, clock=ManualClock())`` see time pass only
when the test says so.
"""

from __future__ import annotations

from datetime import timedelta


class ManualClock:
    """A clock that stands still until it is moved. Satisfies ``sqlite_claims.clock.Clock``.

    Share one between all stores of a test. Not for stores that several processes open.
    """

    def __init__(self, *, wall: float = 1_700_000_000.0) -> None:
        """``wall``: the wall clock's first reading, in Unix seconds."""
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
        """Time passes while the machine is awake."""
        us = _us(seconds)
        self._boot += us
        self._awake += us
        self._wall += us

    def sleep(self, seconds: float | timedelta) -> None:
        """The machine is suspended for this long: leases do not run meanwhile, delays do."""
        us = _us(seconds)
        self._boot += us
        self._wall += us

    def step_wall(self, seconds: float | timedelta) -> None:
        """Somebody sets the wall clock, forwards or (negative) backwards."""
        self._wall += _us(seconds)

    def reboot(self) -> None:
        """The machine restarts. Stores opened before must be closed first, as a reboot would do."""
        self._boots += 1
        self._boot = 5_000_000
        self._awake = 5_000_000


def _us(seconds: float | timedelta) -> int:
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    return round(seconds * 1e6)
