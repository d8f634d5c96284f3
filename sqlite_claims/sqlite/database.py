"""One open store. The store runs each operation in a short transaction, and then does the work that follows a
commit."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import apsw

from ..clock import Clock
from ..errors import (
    BackendError,
    InvalidArgumentError,
    InvalidStateError,
    SchemaVersionError,
    StoreBusyError,
    StoreCorruptError,
    StoreUnavailableError,
)
from . import bad_values, schema
from .doorbell import COMMITS, READY, WRITER, PollingBell
from .error_translation import TRANSLATED, log_after_commit, translate
from .files import reserve
from .lanes import Lanes
from .limits import Limits
from .open_connection import Settings
from .statements import ROW_MAKERS, Row, Statement, sql
from .store_connection import StoreConnection
from .wal.checkpoints import BEHIND_FRAMES
from .wal.durability import recover

P = ParamSpec("P")
T = TypeVar("T")
Rows = list[tuple[Any, ...]]

_BEGIN_WRITE = sql.begin_write
_COMMIT = sql.commit
# The interval at which searches for work ask the kernel which sessions are alive. This check costs one system call for
# each session.
PROBE_EVERY_US = 500_000
# After this number of commits, a store checks whether its files are still in place, even before CHECK_EVERY_US is over.
CHECK_EVERY_COMMITS = 100


class Transaction(Protocol):
    """A transaction that one thread has open over several calls."""

    thread: int

    def run(self, operation: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation within the transaction."""


class Database(StoreConnection):
    """An open store, with the methods that the operations use. ``write`` and ``read`` run an operation in a
    transaction."""

    __slots__ = (
        "_ring_ready",
        "lanes",
        "left_behind",
        "left_behind_us",
        "limits",
        "next_tick",
        "probe_every_us",
        "probed_us",
        "rest_until",
        "tick_offset_us",
        "ticks_rest_until",
    )

    transaction: Transaction | None

    def __init__(
        self,
        path: str,
        *,
        create: bool,
        read_only: bool,
        durable: bool,
        busy_timeout: float,
        use_c_core: bool | None,
        clock: Clock,
    ) -> None:
        self.probe_every_us = PROBE_EVERY_US
        self._ring_ready = False
        settings = Settings(path, read_only, durable, busy_timeout, use_c_core)
        super().__init__(settings, create=create, clock=clock, bell=PollingBell(self._data_version))

    def _forget_file(self) -> None:
        super()._forget_file()
        self.lanes = Lanes()
        self.limits = Limits()
        self.probed_us = self.left_behind_us = -(1 << 62)
        self.left_behind: set[int] = set()  # sessions whose locks only descendants of an ended command hold
        # The next tick of all schedules, as read by the latest search for work, and the largest difference between wall
        # clock and store time at which a schedule was looked at.
        self.next_tick: int | None = None
        self.tick_offset_us: int | None = None
        self.ticks_rest_until = 0  # the store time before which this process adds no ticks, because it could not
        self.rest_until = 0  # the store time before which clean-up that can be deferred is skipped

    def has_transaction(self) -> bool:
        """Return whether the calling thread has ``store.transaction()`` open."""
        return (transaction := self.transaction) is not None and transaction.thread == get_ident()

    def refuse_writes(self) -> None:
        """Raise an error if the store is read-only, or if the calling thread has a transaction open."""
        if self.read_only:
            raise InvalidStateError(f"{self.path}: opened with read_only=True")
        if self.has_transaction():
            raise InvalidStateError("this thread has a transaction open: call the method on its tx")

    def refuse_old_schema(self) -> None:
        """Raise an error if the file has an older schema version, which only a read-only store can have open."""
        if self.opened.is_old:
            raise SchemaVersionError(
                f"{self.path}: has an older schema version, which can be read but not checked; open the file once for "
                "writing, which upgrades the file"
            )

    # -- transactions

    def write(
        self, operation: Callable[Concatenate[Database, P], T], durable: bool, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run an operation in one short ``BEGIN IMMEDIATE`` transaction, and commit the transaction.

        If ``durable`` is true, a power cut must not lose the commit. The commit is then synced before this method
        returns, but after the write lock was released.
        """
        self.acquire()
        try:
            if self.read_only or self.transaction is not None:
                self.refuse_writes()
            self.refuse_reentry()
            execute = self.execute
            try:
                execute(_BEGIN_WRITE)
                self.time.write(execute)
                result = operation(self, *args, **kwargs)
                if self.limits.touched:
                    self.limits.flush(self)
                execute(_COMMIT)
                self.follow_up_commit()
            except BaseException as error:
                self._roll_back_and_translate(error)
                raise
            finally:
                self.in_call = False
            self._commits_unchecked = unchecked = self._commits_unchecked + 1
            if unchecked >= CHECK_EVERY_COMMITS or self.time.now >= self._check_due:
                self._check_files()
        finally:
            self._lock.release()
        if durable and self.durable:
            self.make_durable()
        return result

    def read(self, operation: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads, on one snapshot."""
        self.acquire()
        try:
            if self.transaction is not None:
                return self.transaction.run(operation, *args, **kwargs)
            unshared = self.opened.unshared
            if unshared is not None and unshared.changed():
                self._close_connection()
                self._open()
                unshared = self.opened.unshared
            self.refuse_reentry()
            try:
                self.execute(sql.begin_read)
                self.time.read(self.execute)
                result = operation(self, *args, **kwargs)
                self.execute(_COMMIT)
                if unshared is not None:
                    unshared.check()
            except BaseException as error:
                self._roll_back_and_translate(error)
                raise
            finally:
                self.in_call = False
            if self.time.now >= self._check_due:
                self._check_files()
            return result
        finally:
            self._lock.release()

    def follow_up_commit(self) -> None:
        """Do the work that follows each commit. The commit has taken effect, so an error in that work is logged and not
        raised."""
        try:
            self.lanes.saved()
            self.time.saved()
            self.bell.ring(COMMITS)
            opened = self._opened
            if opened is not None and opened.checkpointer is not None:
                opened.checkpointer.committed(opened.frames[0])
            if self._ring_ready:
                self.bell.ring(READY)
                self._ring_ready = False
        except BaseException as error:  # noqa: BLE001 - a signal handler's exception is raised at the end
            self._follow_up_again(error)

    def _follow_up_again(self, error: BaseException) -> None:
        """After an error, repeat the work that follows a commit. If a step fails, the next step still runs. Afterwards,
        raise ``error`` if ``error`` is the exception of a signal handler, such as ``KeyboardInterrupt``."""
        steps: list[Callable[[], None]] = [self.lanes.saved, self.time.saved, partial(self.bell.ring, COMMITS)]
        if self._ring_ready:
            steps.append(partial(self.bell.ring, READY))
            self._ring_ready = False
        for step in steps:
            with contextlib.suppress(Exception):  # the first error is logged or raised below
                step()
        if not isinstance(error, Exception):
            raise error
        log_after_commit(self.path, "committed, but an error followed", error)

    def make_durable(self) -> None:
        """Sync all earlier commits. Raise ``BackendError`` if the sync fails for any reason."""
        try:
            self.bell.ring(WRITER)
            if not self.files.sync.sync():
                self._recover()
        except BackendError:
            if self.files.opened.lost:
                self.check_files()
            raise
        except Exception as error:
            raise StoreUnavailableError(
                f"{self.path}: committed, but could not be synced, so it may not survive power loss "
                f"({type(error).__name__}: {error})"
            ) from error

    def _recover(self) -> None:
        """Recover from a failed sync: write the frames of the -wal file again, and sync the -wal file."""
        try:
            self.acquire()
        except StoreBusyError as error:
            raise StoreUnavailableError(f"{self.path}: committed, but could not be synced ({error})") from error
        try:
            self.refuse_reentry()
            try:
                recover(self.files.sync, self.connection)
            finally:
                self.in_call = False
            self._check_files()
        finally:
            self._lock.release()

    def _roll_back_and_translate(self, error: BaseException) -> None:
        """Roll back after an error. If the error is an exception of SQLite, raise a ``BackendError`` in its place."""
        opened = self.opened
        self.files.sync.note(error)
        try:
            system_errno = opened.connection.system_errno
        finally:
            self.undo()
        if opened.unshared is not None:
            opened.unshared.check()
        if isinstance(error, (apsw.BusyError, apsw.ProtocolError)) and self._opened is not None:
            self._check_files()  # SQLite repeats these errors if other code has closed its descriptors
        if isinstance(error, TRANSLATED) and not isinstance(error, BackendError):
            raise self.translated(error, system_errno) from error

    def translated(self, error: BaseException, system_errno: int = 0) -> BackendError:
        """Return the ``BackendError`` for an exception. If a value in the file caused the exception, the error names
        the value."""
        if unknown := self.authorizer.take_unknown_context():
            return StoreCorruptError(schema.not_ours(self.path, unknown))
        # A statement can fail because a newer version has renamed the tables.
        renamed = isinstance(error, apsw.SQLError) and self._opened is not None
        if renamed and (newer := schema.newer_version(self.connection)):
            return newer
        culprit = bad_values.culprit(self.execute, error) if self._opened is not None else ""
        return translate(error, self.path, system_errno, culprit)

    def undo(self) -> None:
        """Roll back the open transaction, and undo the changes that the transaction made to cached data."""
        opened = self._opened
        try:
            if opened is not None and opened.connection.in_transaction:
                try:
                    self.execute(sql.rollback)
                except apsw.Error:
                    # The rollback failed, for example because memory ran out. Closing the connection also rolls back
                    # the transaction. The next call opens a new connection.
                    self._close_connection()
                self.bell.ring(COMMITS)  # a rollback, too, must wake processes that wait for the write lock
            elif self._ring_ready:  # a signal handler raised an exception between COMMIT and the rings
                self.bell.ring(COMMITS)
                self.bell.ring(READY)
        finally:
            self._ring_ready = False
            self.lanes.forget()
            self.limits.forget()
            self.time.forget()

    # -- checkpoints

    def checkpoint(self) -> None:
        """Copy the -wal file into the database, as far as readers allow. If an incremental vacuum has removed pages
        from the database, the checkpoint also shortens the database file. If the checkpoint can't run now, because a
        different process runs a checkpoint or the disk is full, a later checkpoint copies the frames."""
        if not self.files.sync.is_marked():
            frames, _ = self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            reserve.keep(self.path, frames * self._page_size())

    def make_room(self) -> bool:
        """Free space on a full disk. Release the reserved space, and let the -wal file start over from its beginning,
        so that the file's space can be used again. Return whether this method may have freed disk space."""
        released = reserve.release(self.path)
        size = self.read(lambda db: db.value(sql.page_count)) * self._page_size()
        # A checkpoint that needs more space than is free would use up all the free space, and then fail.
        if self.files.sync.is_marked() or not reserve.has_room(self.path, size):
            return released
        frames, copied = self._checkpoint(apsw.SQLITE_CHECKPOINT_RESTART)
        return released or 0 < frames == copied

    def _page_size(self) -> int:
        return self._opened.page_size if self._opened is not None else 0

    def _checkpoint(self, mode: int) -> tuple[int, int]:
        """Run a checkpoint. Return the number of frames in the -wal file, and the number of these frames that are
        copied into the database. Return (0, 0) if the numbers are unknown."""
        try:
            self.acquire()
        except BackendError:
            return 0, 0
        try:
            return self.opened.checkpoint(mode)
        except apsw.Error:
            return 0, 0
        finally:
            self._lock.release()

    def checkpoint_findings(self) -> list[str]:
        """Return warnings about checkpoints that fail in this process, or that fall behind in any process."""
        findings = []
        checkpointer = None if self._opened is None else self._opened.checkpointer
        failure = checkpointer and checkpointer.last_error
        if failure:
            findings.append(f"{self.path}-wal: checkpoints of this process fail: {type(failure).__name__}: {failure}")
        frames, copied = self._checkpoint(apsw.SQLITE_CHECKPOINT_NOOP)
        if frames - copied >= BEHIND_FRAMES:
            findings.append(
                f"{self.path}-wal: {frames - copied} pages are not copied into the database yet, "
                "so the -wal grows: some "
                "process reads in one long transaction, or checkpoints fail (the writing processes log the reason)"
            )
        return findings

    # -- for the operations

    def rows(self, statement: Statement[Row], *bindings: Any) -> list[Row]:
        """Run a statement to its end, and return all its rows."""
        rows: list[Any] = self.execute(statement, bindings).fetchall()
        make = ROW_MAKERS.get(statement)
        return rows if make is None else list(map(make, rows))

    def value(self, statement: Statement[tuple[T]], *bindings: Any) -> T:
        """Run a statement, and return the first column of its first row."""
        rows: list[Any] = self.execute(statement, bindings).fetchall()
        value: T = rows[0][0]
        return value

    def scan(self, lanes: array[int], limit: int, aging: int | None, moving: bool) -> array[int]:
        """Return the ids of the tasks in these lanes that may be claimed now, in the order of claiming."""
        try:
            return self.opened.scanner.ready_ids(lanes, self.time.now, aging, limit, moving)
        except InvalidArgumentError as error:
            raise StoreCorruptError(f"{self.path}: claims_meta row 1: {error}") from error

    def is_fed(self, instance: int) -> bool:
        """Return whether any process feeds the instance. If the answer is uncertain, return ``True``."""
        sessions = self.sessions
        assert sessions is not None
        if sessions.is_fed(instance):
            return True
        if not sessions.in_place():
            self.check_files_soon()
            return True
        return sessions.may_be_elsewhere(1, self.time.now) is True

    def ring(self) -> None:
        """Wake waiting workers after the commit, because a task became claimable, or will become claimable earlier than
        the workers expect."""
        self._ring_ready = True

    def _data_version(self) -> int:
        return self.read(lambda db: db.value(sql.data_version))
