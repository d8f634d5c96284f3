"""Store time: the boot clock plus an anchor kept in the file; effects of a new boot, a sleep and a copy on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import apsw

from ..clock import UNKNOWN_BOOT, Clock, SystemClock
from ..errors import StoreUnavailableError
from .files.copies import Identity, Origin, compare, identity_of, split
from .sessions.session_file import SessionFile
from .statements import sql

# The time in the file (meta.seen) is updated this often: store time goes on from seen + this after a reboot.
SEEN_EVERY_US = 1_000_000
# The two clocks are read one after the other, so a smaller difference is not taken for a sleep.
SLEEP_US_MIN = 100_000
# A token is an epoch, which each boot and each copy raises, above 32 bits of claims.
_EPOCH = 32
_EPOCH_MAX = (1 << 31) - 1
# A store that lives on after a copy was taken would need this many boots to catch up with it. Fewer where a file has
# been taken for a copy so often that epochs would become scarce.
_EPOCHS_PER_COPY = 1 << 16


class _Change(NamedTuple):
    """A change that has to be committed before a store can be used."""

    epochs: int
    ends_claims: bool


def _epochs_per_copy(floor: int) -> int:
    return max(1, min(_EPOCHS_PER_COPY, (_EPOCH_MAX + 1 - (floor >> _EPOCH)) >> 15))


def _stored(execute: Callable[..., apsw.Cursor]) -> tuple[Any, ...]:
    return execute(sql.meta_timeline).fetchall()[0]


class StoreTime:
    """The store time as one store sees it. ``now`` and ``wall`` are read once an operation, under the write lock."""

    __slots__ = (
        "_anchor",
        "_asleep_us",
        "_granted_us",
        "_identity",
        "_measured_boot_us",
        "_saved",
        "_seen",
        "_sessions",
        "clock",
        "now",
        "token_floor",
        "wall",
    )

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.now = 0
        self.wall = 0
        self.token_floor = 0
        self._anchor = 0
        self._seen = 0  # the store time recorded in the file
        self._granted_us = 0  # the part of `_asleep_us` for which leases were prolonged
        self._asleep_us = 0  # boot clock - awake clock: how long the machine has slept since it was booted
        self._measured_boot_us = 0  # when `_asleep_us` was measured, by the boot clock
        self._identity = Identity(0, 0, 0)
        self._sessions: SessionFile | None = None
        self._saved: tuple[int, int] | None = None  # seen and sleep, where the open transaction has changed them

    def read(self, execute: Callable[..., apsw.Cursor]) -> None:
        """Read the clocks for an operation that only reads."""
        if self._take():
            # Another process may have prolonged the leases since.
            self._granted_us = _stored(execute)[3]
        self.wall = self.clock.wall_us()

    def _take(self) -> bool:
        """Read the boot clock. Returns whether the machine has slept since leases were last prolonged for it, as far
        as this process knows. (No sleep is longer than the time since it was last measured.)"""
        boot = self.clock.boot_us()
        self.now = boot + self._anchor
        if boot - self._measured_boot_us >= SLEEP_US_MIN:
            self._measured_boot_us = boot
            self._asleep_us = boot - self.clock.awake_us()
        return self._asleep_us - self._granted_us >= SLEEP_US_MIN

    def slept(self) -> bool:
        """Whether leases have to be prolonged for a sleep of the machine before any lease may expire."""
        return self._asleep_us - self._granted_us >= SLEEP_US_MIN

    def awake(self, moment: int) -> int:
        """A moment of store time, no earlier than the last sleep, on the awake clock."""
        return moment - self._anchor - self._asleep_us

    def write(self, execute: Callable[..., apsw.Cursor]) -> None:
        """Read the clocks for an operation that holds the write lock. Prolong leases if the machine has slept."""
        if self._take():
            _, _, seen, known, _, _ = _stored(execute)
            if self._asleep_us - known >= SLEEP_US_MIN:
                execute(sql.prolong_leases, (self._asleep_us - known, seen))
                execute(sql.set_sleep, (self._asleep_us,))
            self._change()
            self._granted_us = self._asleep_us
        self.wall = self.clock.wall_us()
        if self.now - self._seen >= SEEN_EVERY_US:
            execute(sql.set_seen, (self.now,))
            self._change()
            self._seen = self.now

    def _change(self) -> None:
        if self._saved is None:
            self._saved = self._seen, self._granted_us

    def saved(self) -> None:
        """Note, after a commit, that the changes of ``write`` are in the file."""
        if self._saved is not None:
            self._saved = None
            self._note()

    def _note(self) -> None:
        """Record a time by which an earlier state of the file is recognized when it is opened."""
        if self._sessions is not None:
            self._sessions.note(f"{self._seen} {self._identity}")

    def _has_gone_back(self, seen: int) -> bool:
        """Whether the file has had a later time than its present one: an earlier state was written over it."""
        noted, identity = split(self._sessions.noted() if self._sessions else "")
        if identity is None or compare(identity, self._identity) is Origin.COPY:
            return False
        with contextlib.suppress(ValueError):
            return int(noted) > seen
        return False

    def forget(self) -> None:
        """Forget, after a rollback, the changes of ``write``."""
        if self._saved is not None:
            self._seen, self._granted_us = self._saved
            self._saved = None

    def lease_ends(self, lease_expires: int) -> int:
        """When a stored lease ends on the awake clock, sleep that isn't granted yet included."""
        return self.awake(lease_expires) + (self._asleep_us - self._granted_us if self.slept() else 0)

    def enter_namespace(self, path: str) -> None:
        """Refuse a process whose clocks can't be compared with those of others."""
        if isinstance(self.clock, SystemClock) and not self.clock.enter_namespace():
            raise StoreUnavailableError(
                f"{path}: this process is in a time namespace whose offsets it can't read (/proc/self/timens_offsets "
                "tells them only while the process's children are in the same one); open the store outside of it"
            )

    def load(self, connection: apsw.Connection) -> bool:
        """Read the file's timeline. ``False`` where it is another boot's, or a backup's that was never in use."""
        recorded, anchor, seen, sleep, floor, is_copy = _stored(connection.execute)
        boot_id, boot = self.clock.boot_id(), self.clock.boot_us()
        same = not is_copy and boot_id in (split(recorded)[0], UNKNOWN_BOOT) and boot + anchor >= seen - SEEN_EVERY_US
        # A store that may not write still needs a time that fits what is stored.
        self._anchor = anchor if same else seen + SEEN_EVERY_US - boot
        self._seen, self._granted_us, self.token_floor = seen, sleep, floor
        self._measured_boot_us = boot
        self._asleep_us = boot - self.clock.awake_us()
        return same

    def start(self, connection: apsw.Connection, path: str, sessions: SessionFile) -> None:
        """Read the file's timeline, and write down a new boot, or that the file is a copy: all tokens to come are then
        larger than any that were given.

        Synced before it returns: a claim that was lost with the power must not give its token to the next.
        """
        self._identity, self._sessions = identity_of(path), sessions
        if self._change_to_write(connection, path) is None:
            if not sessions.noted():
                self._note()
            return
        connection.execute(sql.synchronous_full)
        connection.execute(sql.begin_write)
        try:
            change = self._change_to_write(connection, path)
            if change is not None:
                self._write_down(connection, path, change)
            connection.execute(sql.commit)
        except BaseException:
            if connection.in_transaction:
                connection.execute(sql.rollback)
            raise
        connection.execute(sql.synchronous_normal)
        self._note()

    def _change_to_write(self, connection: apsw.Connection, path: str) -> _Change | None:
        assert self._sessions is not None
        same_boot = self.load(connection)
        recorded, _, seen, _, floor, is_copy = _stored(connection.execute)
        origin = compare(split(recorded)[1], self._identity)
        if origin is not Origin.COPY and self._has_gone_back(seen):
            origin = Origin.EARLIER
        boot_is_sure = self.clock.boot_id() != UNKNOWN_BOOT
        if same_boot and origin is Origin.SAME and boot_is_sure:
            return None
        many = _epochs_per_copy(floor)
        if is_copy:
            return _Change(many, ends_claims=True)
        in_use = self._sessions.anyone_present()
        if not same_boot:
            if in_use:
                raise StoreUnavailableError(
                    f"{path}: in use by processes that see another boot of the machine (a container with a "
                    "boot id of its own?); share the host's /proc/sys/kernel/random/boot_id, or use one container"
                )
            return _Change(1 if origin in (Origin.SAME, Origin.UNKNOWN) else many, ends_claims=True)
        if in_use:
            if origin is Origin.COPY:
                raise StoreUnavailableError(
                    f"{path}: another file was put in the place of one that is still in use; end all processes that "
                    "have the store open, then open it again"
                )
            return None  # a file that is in use has not been put to work just now, from wherever it is seen
        if origin in (Origin.COPY, Origin.EARLIER):
            return _Change(many, ends_claims=True)
        if origin is Origin.PERHAPS_COPY:
            return _Change(many, ends_claims=False)
        # If boots have no names, this may be another boot, and the last claims were lost when the previous one ended.
        return _Change(0 if boot_is_sure else 1, ends_claims=False)

    def _write_down(self, connection: apsw.Connection, path: str, change: _Change) -> None:
        if change.epochs:
            epoch = (self.token_floor >> _EPOCH) + change.epochs
            if epoch > _EPOCH_MAX:
                raise StoreUnavailableError(
                    f"{path}: its tokens are used up (token_floor {self.token_floor}); add its tasks to a new store"
                )
            self.token_floor = epoch << _EPOCH
        if change.ends_claims:
            self._granted_us = self._asleep_us
            self._seen = self.clock.boot_us() + self._anchor
            connection.execute(sql.end_all_claims)
            connection.execute(sql.end_all_sessions)
            assert self._sessions is not None
            self._sessions.begin(0, 0)  # their numbers may be given again
        boot_id = self.clock.boot_id()
        if boot_id == UNKNOWN_BOOT and not change.ends_claims:
            boot_id = split(_stored(connection.execute)[0])[0]
        connection.execute(
            sql.set_timeline,
            (f"{boot_id} {self._identity}", self._anchor, self._seen, self._granted_us, self.token_floor),
        )
