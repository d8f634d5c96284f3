"""Store time: the boot clock plus an anchor that is stored in the file. Also the effects of a new boot, of a sleep of
the machine, and of a copied file."""

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

# The interval in which ``seen`` in claims_meta is updated. After a reboot, store time continues from ``seen`` plus this
# interval.
SEEN_EVERY_US = 1_000_000
# The least growth of the difference between the boot clock and the awake clock that counts as a sleep. The two clocks
# are read one after the other, so the difference may grow a little without a sleep.
SLEEP_US_MIN = 100_000
# A token consists of an epoch, and of 32 lower bits that count claims. Each boot and each copy raises the epoch.
_EPOCH = 32
_EPOCH_MAX = (1 << 31) - 1
# A copy raises the epoch by this number. If the original stays in use, the original needs this number of boots to reach
# the epoch of the copy. (If a file was treated as a copy so often that few epochs are left, the number is smaller.)
_EPOCHS_PER_COPY = 1 << 16


class _Change(NamedTuple):
    """A change of the file's timeline (boot, anchor, ``seen`` and ``sleep``). The store can be used only after the
    change is committed."""

    epochs: int
    ends_claims: bool
    restarts_schedules: bool


def _epochs_per_copy(floor: int) -> int:
    return max(1, min(_EPOCHS_PER_COPY, (_EPOCH_MAX + 1 - (floor >> _EPOCH)) >> 15))


def _stored(execute: Callable[..., apsw.Cursor]) -> tuple[Any, ...]:
    return execute(sql.meta_timeline).fetchall()[0]


class StoreTime:
    """The store time of one open store. Each operation reads ``now`` (store time) and ``wall`` (wall-clock time) once.
    An operation that writes reads both times while the operation holds the write lock."""

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
        self._asleep_us = 0  # boot clock - awake clock: the time that the machine has slept since its boot
        self._measured_boot_us = 0  # the time of the boot clock at which `_asleep_us` was measured
        self._identity = Identity(0, 0, 0)
        self._sessions: SessionFile | None = None
        self._saved: tuple[int, int] | None = None  # old seen and sleep, if a transaction has changed these values

    def read(self, execute: Callable[..., apsw.Cursor]) -> None:
        """Read the clocks for an operation that only reads data."""
        if self._take():
            # A different process may have prolonged the leases since this process read the timeline.
            self._granted_us = _stored(execute)[3]
        self.wall = self.clock.wall_us()

    def _take(self) -> bool:
        """Read the boot clock. Return whether, as far as this process knows, the machine has slept since leases were
        last prolonged for a sleep. (A sleep shorter than ``SLEEP_US_MIN`` doesn't count, so the time asleep is measured
        at most once every ``SLEEP_US_MIN``.)"""
        boot = self.clock.boot_us()
        self.now = boot + self._anchor
        if boot - self._measured_boot_us >= SLEEP_US_MIN:
            self._measured_boot_us = boot
            self._asleep_us = boot - self.clock.awake_us()
        return self._asleep_us - self._granted_us >= SLEEP_US_MIN

    def slept(self) -> bool:
        """Return whether the machine has slept and leases must be prolonged before any lease may expire."""
        return self._asleep_us - self._granted_us >= SLEEP_US_MIN

    def awake(self, moment: int) -> int:
        """Convert a store time to a time of the awake clock. The store time must not be earlier than the machine's last
        sleep."""
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
        """After a commit, record that the changes of ``write`` are in the file."""
        if self._saved is not None:
            self._saved = None
            self._note()

    def _note(self) -> None:
        """Record ``seen`` in the -sessions file. A later open compares the recorded time with the database, to
        recognize a database that is an earlier state of the file."""
        if self._sessions is not None:
            self._sessions.note(f"{self._seen} {self._identity}")

    def _has_gone_back(self, seen: int) -> bool:
        """Return whether the -sessions file records a later time than the database. If so, an earlier state was written
        over the database."""
        noted, identity = split(self._sessions.noted() if self._sessions else "")
        if identity is None or compare(identity, self._identity) is Origin.COPY:
            return False
        with contextlib.suppress(ValueError):
            return int(noted) > seen
        return False

    def forget(self) -> None:
        """After a rollback, undo the changes that ``write`` made to this object."""
        if self._saved is not None:
            self._seen, self._granted_us = self._saved
            self._saved = None

    def lease_ends(self, lease_expires: int) -> int:
        """Return the time of the awake clock at which a stored lease ends. If leases have not been prolonged for a
        sleep yet, add the length of the sleep."""
        return self.awake(lease_expires) + (self._asleep_us - self._granted_us if self.slept() else 0)

    def enter_namespace(self, path: str) -> None:
        """Raise an error if the clocks of this process can't be compared with the clocks of other processes."""
        if isinstance(self.clock, SystemClock) and not self.clock.enter_namespace():
            raise StoreUnavailableError(
                f"{path}: this process is in a time namespace whose offsets it can't read (/proc/self/timens_offsets "
                "shows them only if the process's children are in the same namespace); open the store outside of this "
                "namespace"
            )

    def load(self, connection: apsw.Connection) -> bool:
        """Read the file's timeline (boot, anchor, ``seen`` and ``sleep``). Return ``False`` if the timeline belongs to
        a different boot, or to a backup that was never used."""
        recorded, anchor, seen, sleep, floor, is_copy = _stored(connection.execute)
        boot_id, boot = self.clock.boot_id(), self.clock.boot_us()
        same = not is_copy and boot_id in (split(recorded)[0], UNKNOWN_BOOT) and boot + anchor >= seen - SEEN_EVERY_US
        # A read-only store doesn't record a new boot, but needs a store time that fits the stored times.
        self._anchor = anchor if same else seen + SEEN_EVERY_US - boot
        self._seen, self._granted_us, self.token_floor = seen, sleep, floor
        self._measured_boot_us = boot
        self._asleep_us = boot - self.clock.awake_us()
        return same

    def start(self, connection: apsw.Connection, path: str, sessions: SessionFile) -> None:
        """Read the file's timeline. If the machine has booted since the last use, or if the file is a copy, record this
        in the file. All later tokens are then larger than all earlier tokens.

        This method syncs the record before the method returns. Otherwise a power cut could undo the record together
        with later claims, and the store would issue the tokens of these claims a second time after the next boot.
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
            return _Change(many, ends_claims=True, restarts_schedules=True)
        in_use = self._sessions.anyone_present()
        if not same_boot:
            if in_use:
                raise StoreUnavailableError(
                    f"{path}: in use by processes that see another boot of the machine (a container with a "
                    "boot id of its own?); share the host's /proc/sys/kernel/random/boot_id, or use one container"
                )
            is_new = origin not in (Origin.SAME, Origin.UNKNOWN)
            return _Change(many if is_new else 1, ends_claims=True, restarts_schedules=is_new)
        if in_use:
            if origin is Origin.COPY:
                raise StoreUnavailableError(
                    f"{path}: the file has replaced a file that is still in use; end all processes that have the store "
                    "open, then open it again"
                )
            return None  # other processes already use this file, so the file is not a new copy
        if origin in (Origin.COPY, Origin.EARLIER):
            return _Change(many, ends_claims=True, restarts_schedules=True)
        if origin is Origin.PERHAPS_COPY:
            return _Change(many, ends_claims=False, restarts_schedules=True)
        # If the platform has no boot ids, this may be a new boot, and a power cut may have undone the last claims of
        # the previous boot.
        return _Change(0 if boot_is_sure else 1, ends_claims=False, restarts_schedules=False)

    def _write_down(self, connection: apsw.Connection, path: str, change: _Change) -> None:
        if change.epochs:
            epoch = (self.token_floor >> _EPOCH) + change.epochs
            if epoch > _EPOCH_MAX:
                raise StoreUnavailableError(
                    f"{path}: all tokens are used up (token_floor {self.token_floor}); add the tasks to a new store"
                )
            self.token_floor = epoch << _EPOCH
        if change.ends_claims:
            self._granted_us = self._asleep_us
            self._seen = self.clock.boot_us() + self._anchor
            connection.execute(sql.end_all_claims)
            connection.execute(sql.check_all_partitions)
            connection.execute(sql.end_all_sessions)
            assert self._sessions is not None
            self._sessions.begin(0, 0)  # from now on, the numbers of deleted sessions may be used again
        if change.restarts_schedules:
            store_time = self.clock.boot_us() + self._anchor
            connection.execute(sql.count_ticks_from, (self.clock.wall_us(), store_time))
            connection.execute(sql.set_next_tick)
        boot_id = self.clock.boot_id()
        if boot_id == UNKNOWN_BOOT and not change.ends_claims:
            boot_id = split(_stored(connection.execute)[0])[0]
        connection.execute(
            sql.set_timeline,
            (f"{boot_id} {self._identity}", self._anchor, self._seen, self._granted_us, self.token_floor),
        )
