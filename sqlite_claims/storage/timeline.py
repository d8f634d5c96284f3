"""Store time: the boot clock plus an anchor kept in the file. What a new boot, a sleep and a backup mean for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw

from ..errors import StoreUnavailableError
from ..lease.clock import Clock, SystemClock
from ..lease.session import SessionFile
from .statements import sql

# No write is further than this past the recorded time, so store time can go on from there after a reboot.
SEEN_EVERY_US = 1_000_000
# The two clocks are read one after the other: less than this is no sleep.
SLEEP_US_MIN = 100_000
_EPOCH = 32
# A store that lives on after a backup was taken would need this many boots to catch up with it.
_EPOCHS_PER_COPY = 1 << 16


def _stored(execute: Callable[..., apsw.Cursor]) -> tuple[Any, ...]:
    return execute(sql.meta_timeline).fetchall()[0]


class Timeline:
    """One store's view of store time. ``now`` and ``wall`` are read once an operation, under the write lock."""

    __slots__ = ("_anchor", "_lag", "_looked", "_saved", "_seen", "_sleep", "clock", "now", "token_floor", "wall")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.now = 0
        self.wall = 0
        self.token_floor = 0
        self._anchor = 0
        self._seen = 0
        self._sleep = 0
        self._lag = 0  # boot clock - awake clock
        self._looked = 0  # at it, by the boot clock
        self._saved: tuple[int, int] | None = None  # seen and sleep, where the open transaction has changed them

    def read(self, execute: Callable[..., apsw.Cursor]) -> None:
        """Take the time for an operation that only reads."""
        if self._take():
            # Another process may have prolonged the leases since.
            self._sleep = _stored(execute)[3]
        self.wall = self.clock.wall_us()

    def _take(self) -> bool:
        """Read the boot clock. Returns whether the machine has slept since leases were last prolonged for it, as far
        as this process knows. (No sleep is longer than the time since the last look at it.)"""
        boot = self.clock.boot_us()
        self.now = boot + self._anchor
        if boot - self._looked >= SLEEP_US_MIN:
            self._looked = boot
            self._lag = boot - self.clock.awake_us()
        return self._lag - self._sleep >= SLEEP_US_MIN

    def slept(self) -> bool:
        """Whether leases have to be prolonged for a sleep of the machine before they are judged."""
        return self._lag - self._sleep >= SLEEP_US_MIN

    def awake(self, moment: int) -> int:
        """A moment of store time, no earlier than the last sleep, on the awake clock."""
        return moment - self._anchor - self._lag

    def write(self, execute: Callable[..., apsw.Cursor]) -> None:
        """Take the time for an operation that holds the write lock, and settle what the passing of time demands."""
        if self._take():
            _, _, seen, known, _, _ = _stored(execute)
            if self._lag - known >= SLEEP_US_MIN:
                execute(sql.prolong_leases, (self._lag - known, seen))
                execute(sql.set_sleep, (self._lag,))
            self._change()
            self._sleep = self._lag
        self.wall = self.clock.wall_us()
        if self.now - self._seen >= SEEN_EVERY_US:
            execute(sql.set_seen, (self.now,))
            self._change()
            self._seen = self.now

    def _change(self) -> None:
        if self._saved is None:
            self._saved = self._seen, self._sleep

    def saved(self) -> None:
        """After a commit: what ``write`` has noted is there."""
        self._saved = None

    def forget(self) -> None:
        """After a rollback: it isn't."""
        if self._saved is not None:
            self._seen, self._sleep = self._saved
            self._saved = None

    def lease_ends(self, lease_expires: int) -> int:
        """When a stored lease ends on the awake clock, sleep that isn't granted yet included."""
        return self.awake(lease_expires) + (self._lag - self._sleep if self.slept() else 0)

    def enter_namespace(self, path: str) -> None:
        """Refuse a process whose clocks can't be compared with those of others."""
        if isinstance(self.clock, SystemClock) and not self.clock.enter_namespace():
            raise StoreUnavailableError(
                f"{path}: this process is in a time namespace whose offsets it can't read (/proc/self/timens_offsets "
                "tells them only while the process's children are in the same one); open the store outside of it"
            )

    def load(self, connection: apsw.Connection) -> bool:
        """Read the file's timeline. ``False`` where a new boot or a backup's first use has to be written down."""
        boot_id, anchor, seen, sleep, floor, is_copy = _stored(connection.execute)
        boot = self.clock.boot_us()
        same = not is_copy and boot_id == self.clock.boot_id() and boot + anchor >= seen - SEEN_EVERY_US
        # A store that may not write still needs a time that fits what is stored.
        self._anchor = anchor if same else seen + SEEN_EVERY_US - boot
        self._seen, self._sleep, self.token_floor = seen, sleep, floor
        self._looked = boot
        self._lag = boot - self.clock.awake_us()
        return same

    def start(self, connection: apsw.Connection, path: str, sessions: SessionFile) -> None:
        """Write down a new boot: end every claim, and let all tokens to come be larger than any that were given.

        Synced before it returns: a claim that was lost with the power must not give its token to the next.
        """
        connection.execute(sql.synchronous_full)
        connection.execute(sql.begin_write)
        try:
            if not self.load(connection):
                *_, floor, is_copy = _stored(connection.execute)
                if not is_copy and sessions.anyone_present():
                    raise StoreUnavailableError(
                        f"{path}: in use by processes that see another boot of the machine (a container with a "
                        "boot id of its own?); share the host's /proc/sys/kernel/random/boot_id, or use one container"
                    )
                epoch = (floor >> _EPOCH) + (_EPOCHS_PER_COPY if is_copy else 1)
                self._sleep = self._lag
                self._seen = self.clock.boot_us() + self._anchor
                self.token_floor = epoch << _EPOCH
                connection.execute(sql.end_all_claims)
                connection.execute(sql.end_all_sessions)
                connection.execute(
                    sql.set_timeline, (self.clock.boot_id(), self._anchor, self._seen, self._sleep, self.token_floor)
                )
            connection.execute(sql.commit)
        except BaseException:
            if connection.in_transaction:
                connection.execute(sql.rollback)
            raise
        connection.execute(sql.synchronous_normal)
