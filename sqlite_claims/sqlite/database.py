"""One open store: its connection, its lock, its time, and the two kinds of transaction everything runs in."""

from __future__ import annotations

import contextlib
import threading
import weakref
from array import array
from collections.abc import Callable
from functools import partial
from os import getpid
from threading import get_ident
from typing import Any, Concatenate, ParamSpec, TypeVar

import apsw

from ..clock import Clock
from ..errors import (
    BackendError,
    InvalidArgumentError,
    InvalidStateError,
    StoreBusyError,
    StoreClosedError,
    StoreCorruptError,
    StoreFullError,
    StoreUnavailableError,
)
from ..validate import shown
from . import c_core, forks, schema
from .authorizer import Guard, is_strange
from .connection import connect, patience, use_wal
from .doorbell import COMMITS, READY, WRITER, Doorbell, FutexBell, PollingBell
from .error_translation import DISK_FULL, FOREIGN, log, log_after_commit, translate
from .files import reserve
from .files.open_files import HALVES_WAIT_S, OpenedFiles, refuse_halves
from .files.paths import check_place, has_content, is_full, may_write
from .files.read_only import UnsharedFiles, connect_to_read
from .hooks import HookedConnection
from .lanes import Lanes
from .maintenance import bad_values
from .maintenance.long_read import LongRead
from .scan import Scanner, ScanStatements, open_scanner
from .sessions.session_file import InstanceFeed, SessionFile, SqliteWorkerSession, any_connected
from .statements import ROW_MAKERS, Row, Statement, sql
from .store_time import Timeline
from .wal.checkpoints import BEHIND_FRAMES, RESTART_WAIT_S, Checkpointer
from .wal.durability import WalSync, make_good

P = ParamSpec("P")
T = TypeVar("T")
Rows = list[tuple[Any, ...]]

_BEGIN_WRITE = sql.begin_write
_COMMIT = sql.commit
# How often looking for work asks the kernel who is still alive: one call a session.
PROBE_EVERY_US = 500_000
# A store in use looks at least this often whether its files are still in their places: whichever comes first.
LOOK_EVERY_US = 1_000_000
LOOK_EVERY_COMMITS = 100
# Of SQLite's virtual machine, between two looks whether the time of the caller's own SQL is up: under a millisecond.
_STEPS_BETWEEN_LOOKS = 10_000


class Database:
    """One connection to the file, shared by the threads of this process under one lock.

    The connection comes and goes (a fork closes it); ``write`` and ``read`` reopen it when needed.
    """

    # More attributes than Python keeps in an instance's shared dictionary: by slots they cost a transaction less.
    __slots__ = (
        "__weakref__",
        "_active",
        "_checkpointer",
        "_closed",
        "_connection",
        "_create",
        "_files",
        "_foreign",
        "_frames",
        "_holder",
        "_lock",
        "_look_at",
        "_lost",
        "_owned",
        "_owner",
        "_page_size",
        "_ring",
        "_scanner",
        "_sessions_error",
        "_stranger",
        "_sync",
        "_unbegun",
        "_unlooked",
        "_unshared",
        "_use_c_core",
        "_waiter",
        "bell",
        "busy_timeout",
        "changes",
        "durable",
        "execute",
        "executemany",
        "in_transaction",
        "lanes",
        "left_behind",
        "left_behind_us",
        "long_reads",
        "own_feeds",
        "own_sessions",
        "path",
        "probe_every_us",
        "probed_us",
        "read_only",
        "rest_until",
        "sessions",
        "time",
    )

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
        self.path = path
        self.read_only = read_only
        self.durable = durable
        self.busy_timeout = busy_timeout
        self.time = Timeline(clock)
        self.lanes = Lanes()
        self.sessions: SessionFile | None = None
        self.long_reads: set[LongRead[Any]] = set()  # under way
        self.own_sessions: list[SqliteWorkerSession] = []  # closed with the store, let go of in a forked child
        self.own_feeds: set[InstanceFeed] = set()  # likewise
        self.probed_us = self.left_behind_us = -(1 << 62)
        self.left_behind: set[int] = set()  # sessions that only processes keep which their command has left behind
        self.rest_until = 0  # in store time: what hides nothing is not settled before
        self.probe_every_us = PROBE_EVERY_US
        self.in_transaction = False  # whether a thread has `transaction()` open, and so holds the lock
        self._holder = 0  # that thread
        self._owner = 0  # and what it has the transaction as
        self._create = create
        self._use_c_core = use_c_core
        self._lock = threading.RLock()
        self._owned = self._lock._is_owned  # type: ignore[attr-defined] # as threading.Condition asks it
        self._connection: apsw.Connection | None = None
        self._unshared: UnsharedFiles | None = None  # where it had to be opened without locks, for reading
        self._scanner: Scanner | None = None
        self._watch_files()
        self._lost: StoreUnavailableError | None = None  # to be raised by the next call, or, without database, by all
        self._closed = False
        self._active = False  # whether a call is under way
        self._foreign: Guard | None = None
        self._stranger = ""  # the trigger or view that the authorizer met in a statement of ours
        self.bell: Doorbell = PollingBell(self._data_version)
        self._waiter: c_core.BusyWaiter | None = None  # must outlive the connection
        self._ring = False
        self._page_size = 0
        self._frames = array("i", [0])  # of the -wal at this connection's last commit; must outlive the connection
        self._checkpointer: Checkpointer | None = None
        with self._lock:
            forks.register(self)  # before a connection is there for a fork to copy
            self._open()

    # -- opening and closing

    def _watch_files(self) -> None:
        self._files = OpenedFiles(self.path)
        self._sync = WalSync(self.path, self._files)
        self._look_at = 0  # in store time
        self._unlooked = 0  # commits since the last look
        self._unbegun = False  # whether the -sessions file still has to tell which sessions are older
        self._sessions_error = ""  # of making the -sessions file anew, as it was told last

    def _open(self) -> None:
        try:
            self._open_once()
        except StoreFullError:
            if self.read_only or not reserve.give_up(self.path):
                raise
            self._open_once()
        else:
            if not self.read_only:
                reserve.keep(self.path)

    def _open_once(self) -> None:
        forks.guard(self.path)
        self.time.enter_namespace(self.path)
        self._raise_lost()
        existed = check_place(self.path, create=self._create and not self.read_only)
        wait = min(self.busy_timeout, HALVES_WAIT_S)
        if has_content(self.path):
            refuse_halves(self.path, wait)
        connection = None
        had_wal = has_content(f"{self.path}-wal")
        # Left by a process that was killed, perhaps while a sync failed, which nobody else would hear of.
        left = had_wal and not self.read_only and not any_connected(self.path)
        vfs = None if self.read_only or self._use_c_core is False else c_core.vfs()
        try:
            if self.read_only and not had_wal:
                schema.peek(self.path, wait)
            if self.read_only:
                connection, self._unshared = connect_to_read(self.path, self.busy_timeout)
            else:
                connection = connect(
                    self.path, create=self._create, read_only=False, busy_timeout=self.busy_timeout, vfs=vfs
                )
            stale = schema.check(connection, self.path, create=self._create, read_only=self.read_only)
            if not self.read_only:
                use_wal(connection, self.path, self.busy_timeout)
                if stale:
                    schema.migrate(connection, self.time.clock)
                if schema.forget_statistics(connection):
                    connection.close(True)
                    connection = connect(
                        self.path, create=False, read_only=False, busy_timeout=self.busy_timeout, vfs=vfs
                    )
            if self.sessions is None:
                self.sessions = SessionFile(self.path, read_only=self.read_only)
            if self.read_only:
                self.time.load(connection)
            else:
                self.time.start(connection, self.path, self.sessions)
                self._begin_sessions(connection)
                self.sessions.arrive()
                self._hang_bell(connection)
                self._watch_wal(connection)
            self._scanner = open_scanner(
                connection, self._use_c_core, ScanStatements(sql.scan_head, sql.scan_range, sql.scan_instance_state)
            )
            self._files.watch(all=not self.read_only)
            if not self.read_only:
                self.sessions.connected(True)
            if left:
                self._sync.doubt()
            connection.add_authorizer(self._authorize)
            # One cursor for all, since making one costs more than what most statements do. What an interrupt leaves
            # unfinished on it is ended by the next statement: so whatever rolls back has to go through it, too.
            self.execute = connection.cursor().execute
            self.executemany = connection.executemany
            self.changes = connection.changes
            self._connection = connection  # the last thing: whatever raises before this is undone here
        except BaseException as error:
            self._sync.note(error)
            culprit = "" if connection is None else bad_values.culprit(connection.execute, error)
            system_errno = self._give_up(connection, had_wal)
            if isinstance(error, FOREIGN) and not isinstance(error, BackendError):
                raise self._not_opened(error, existed, system_errno, culprit) from error
            raise
        self._foreign = None
        # From now on a missing file is a fault, not something to make anew.
        self._create = False

    def _not_opened(self, error: BaseException, existed: bool, system_errno: int, culprit: str) -> BackendError:
        if isinstance(error, apsw.CantOpenError) and is_full(self.path):
            return StoreFullError(f"{self.path}: the disk is full, or has no room for more files ({error})")
        if isinstance(error, apsw.CantOpenError) and not existed and system_errno not in DISK_FULL:
            return StoreUnavailableError(f"{self.path}: cannot be created ({error})")
        if existed and not self.read_only and not may_write(self.path):
            return StoreUnavailableError(
                f"{self.path}: this process may not write to the file, or not to its folder ({error}); "
                "read_only=True reads it"
            )
        return self._translated(error, system_errno, culprit)

    def _give_up(self, connection: apsw.Connection | None, had_wal: bool) -> int:
        """Close what could not be opened altogether. Returns the system's last error on the connection."""
        system_errno = 0
        if self._scanner is not None:
            self._scanner.close()
            self._scanner = None
        if connection is not None:
            system_errno = connection.system_errno
            if had_wal:  # of a file that is not ours to touch, perhaps
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.close(True)
        self._drop_sessions()
        return system_errno

    def _hang_bell(self, connection: apsw.Connection) -> None:
        """Take the doorbell in C where it can be had, and let the connection wait for the writer on it."""
        core = None if self._use_c_core is False else c_core.load()
        if core is None:
            return
        if not isinstance(self.bell, FutexBell):
            try:
                self.bell = FutexBell(core, self.path)
            except OSError:
                return  # no futexes here, or no room for the file: polling serves
        self._waiter = core.install_waiter(connection, self.bell, self.busy_timeout)

    def _watch_wal(self, connection: HookedConnection) -> None:
        """Have the -wal copied back, in a thread, when it has grown, and its writes gathered where that can be."""
        self._page_size = connection.pragma("page_size")
        assert self.sessions is not None
        core = None if self._use_c_core is False else c_core.load()
        theirs = connection.wal_hook
        if core is None or theirs is not None:
            frames = self._frames = array("i", [0])

            def note(connection: apsw.Connection, schema: str, number: int) -> int:
                frames[0] = number
                return apsw.SQLITE_OK if theirs is None else theirs(connection, schema, number)

            connection.set_wal_hook(note)
        if core is not None:
            if theirs is None:
                self._frames = core.count_frames(connection)
            if not connection.has_commit_hook:
                core.gather_writes(connection, self._page_size, grows=self.durable)
        path, this = self.path, weakref.ref(self)  # the thread must not keep a store that nobody refers to
        files = self._files

        def connect_beside() -> apsw.Connection:
            files.look()
            return connect(path, create=False, read_only=False, busy_timeout=RESTART_WAIT_S)

        def let_go() -> None:
            if (db := this()) is not None:
                db.bell.ring(WRITER)

        self._checkpointer = Checkpointer(
            path,
            connect_beside,
            self.sessions,
            let_go,
            self._sync,
        )

    def __del__(self) -> None:
        if (checkpointer := getattr(self, "_checkpointer", None)) is not None:
            checkpointer.abandon()

    def _data_version(self) -> int:
        return self.read(lambda db: db.value(sql.data_version))

    def ring(self) -> None:
        """Let sleepers know, once this is committed, that tasks may be claimed, or sooner than they could know."""
        self._ring = True

    def close(self) -> None:
        """Close the connection and end this store's presence and sessions. May be called twice."""
        if getpid() != forks.pid:
            self._closed = True
            return
        with self._lock:
            if self._active:
                raise InvalidStateError(f"{self.path}: called from within another call of the same store")
            sessions = [] if self._closed else list(self.own_sessions)
        for session in sessions:
            session.close()
        with self._lock:
            self._closed = True
            for read in list(self.long_reads):
                read.stop(wait=True)
            told = self._lost
            for session in self.own_sessions:  # opened by another thread meanwhile
                session.drop()
            for feed in self.own_feeds:
                feed.drop()
            try:
                self._close_connection()
            except Exception as error:  # noqa: BLE001 - everything is committed, and there is nothing to try again
                log_after_commit(self.path, "closing the file met an error", error)
            self._drop_sessions()
            if not self.read_only:
                reserve.keep_least(self.path)
            if not told:
                self._raise_lost()

    def _close_connection(self, wait: float | None = None) -> bool:
        """Close all connections. ``False``, with them open, where the thread's would not close in time."""
        if self._checkpointer is not None and not self._checkpointer.close(wait):
            return False
        self._checkpointer = None
        if self._connection is not None:
            self._rescue(self._connection)
            self._make_good_or_leave(self._connection)
        scanner, self._scanner = self._scanner, None
        connection, self._connection = self._connection, None
        for name in ("execute", "executemany", "changes"):
            if hasattr(self, name):
                delattr(self, name)  # they hold on to the connection
        # The file that is opened next may be another.
        self.lanes = Lanes()
        self.probed_us = self.left_behind_us = -(1 << 62)
        self.left_behind = set()
        self.rest_until = 0
        self._look_at = 0
        with contextlib.ExitStack() as stack:  # whatever one of them raises, the others are closed too
            if self.sessions is not None:
                stack.callback(self.sessions.connected, False)
            if connection is not None:
                stack.callback(connection.close, True)
            stack.callback(self._sync.close)
            if scanner is not None:
                stack.callback(scanner.close)
        return True

    def _look(self) -> None:
        """Raise if a file of the connection has been removed or replaced. The next call opens what is there then."""
        self._unlooked = 0
        side_files_too = self.time.now >= self._look_at  # which nothing can be lost by
        if side_files_too:
            self._look_at = self.time.now + LOOK_EVERY_US
        try:
            self._files.look()
        except StoreUnavailableError as error:
            try:
                self._close_connection()
            except OSError as nested:  # whatever closed SQLite's descriptors has closed others, too
                log_after_commit(self.path, "closing the file met an error", nested)
                self._drop_sessions()
            self._raise_lost()
            saved = "" if self.read_only else ". All that this process has committed was saved into the database"
            raise StoreUnavailableError(f"{error}{saved}") from None
        if side_files_too:
            self._look_at_sessions()
            self._look_at_bell()

    def look_soon(self) -> None:
        """Have the files checked when this call ends."""
        self._look_at = 0

    def _look_at_sessions(self) -> None:
        """Make the ``-sessions`` file anew where it has been removed or replaced, with the locks of this process."""
        sessions, connection = self.sessions, self._connection
        if sessions is None or connection is None:
            return
        if sessions.in_place():
            if self._unbegun:
                self._begin_sessions(connection)
            return
        try:
            sessions.reopen([*self.own_sessions, *self.own_feeds])
        except (
            OSError,
            BackendError,
        ) as error:  # what was asked for has been done, so this is told and tried again at the next look
            if repr(error) != self._sessions_error:
                self._sessions_error = repr(error)
                log_after_commit(self.path, "-sessions was removed or replaced, and cannot be made anew", error)
            return
        self._sessions_error = ""
        if not self.read_only:
            self._sync.doubt()  # whether a sync has failed was told by the file that is gone
            self._begin_sessions(connection)
            log.warning("%s-sessions: was removed or replaced while the store was open; created again", self.path)

    def _look_at_bell(self) -> None:
        """Open the ``-bell`` file anew where it has been removed, replaced or cut short: else others would wake nobody
        here, and would not be woken from here."""
        bell = self.bell
        if self._waiter is None or not isinstance(bell, FutexBell) or bell.in_place():
            return
        with contextlib.suppress(OSError):  # no room, say: the next look tries again
            self.bell = FutexBell(bell.core, self.path)
            self._waiter.set_bell(self.bell)

    def _begin_sessions(self, connection: apsw.Connection) -> None:
        """Have a new ``-sessions`` file tell which sessions are older. Under the write lock, so that no session is
        being opened meanwhile. If that or room can't be had, a later look tries again."""
        assert self.sessions is not None
        self._unbegun = False
        if not self.sessions.is_new():
            return
        self.time.read(connection.execute)
        with contextlib.suppress(apsw.Error, OSError):
            connection.execute(sql.begin_write)
            try:
                newest = connection.execute(sql.newest_session).fetchall()[0][0]
                self.sessions.begin(int(str(newest)) + 1, self.time.now)
            finally:
                connection.execute(sql.rollback)
        self._unbegun = self.sessions.is_new()

    def is_fed(self, instance: int) -> bool:
        """Whether any process feeds the instance, or may."""
        sessions = self.sessions
        assert sessions is not None
        if sessions.is_fed(instance):
            return True
        if not sessions.in_place():
            self.look_soon()
            return True
        return sessions.may_be_elsewhere(1, self.time.now) is True

    def look_before_connecting(self) -> None:
        """Raise if a file has been removed or replaced, before another connection of this process is opened: that would
        make the -wal anew, and nothing could be saved any more. From any thread; the next call opens the files anew."""
        lost = self._lost
        if lost is not None and self._files.database_lost:
            raise lost
        try:
            self._files.look()
        except StoreUnavailableError:
            self.look_soon()
            raise

    def look_now(self) -> None:
        """Raise if a file of the store has been removed or replaced."""
        self._acquire()
        try:
            if not (self._active or self.in_transaction):
                self._look()
        finally:
            self._lock.release()

    def _rescue(self, connection: apsw.Connection) -> None:
        """Before closing a connection whose files were removed: copy into the database what nobody else can reach, and
        keep SQLite from removing, as the last connection does, what bears the names of its files now."""
        try:
            self._files.look()
        except StoreUnavailableError as error:
            rescued = False
            with contextlib.suppress(apsw.Error):
                if not self.read_only and self._files.is_ours_alone():
                    frames, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                    rescued = frames == copied
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            if not rescued and (self._files.database_lost or not self.read_only):
                self._lost = error

    def _make_good_or_leave(self, connection: apsw.Connection) -> None:
        """Before a connection is closed after a failed sync: make it good, else keep SQLite from copying into the
        database what may be missing in the -wal after a power cut."""
        if self.read_only or not self._sync.is_marked():
            return
        try:
            self._be_patient(RESTART_WAIT_S)
            make_good(self._sync, connection)
        except (apsw.Error, BackendError, OSError):
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)

    def _raise_lost(self) -> None:
        error = self._lost
        if error is not None:
            if not self._files.database_lost:
                self._lost = None
            raise error

    def _drop_sessions(self) -> None:
        if self.sessions is not None:
            self.sessions.close()
            self.sessions = None

    def _acquire(self, timeout: float | None = None) -> None:
        if getpid() != forks.pid:
            forks.guard(self.path)  # before the lock, which a thread of the parent's may hold for ever
        lock = self._lock
        if self._owned() and not (self._active or self.in_transaction):
            # An exception from a signal handler came between this thread and its letting go.
            while self._owned():
                lock.release()
        if not lock.acquire(blocking=False):
            wait = self.busy_timeout if timeout is None else timeout
            if not lock.acquire(timeout=min(wait, threading.TIMEOUT_MAX)):
                raise StoreBusyError(f"{self.path}: another thread of this process is using the store")
        if self._connection is not None:
            return
        try:
            if self._closed:
                raise StoreClosedError(f"{self.path}: the store is closed")
            self._open()
        except BaseException:
            lock.release()
            raise

    def write(
        self, operation: Callable[Concatenate[Database, P], T], durable: bool, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run an operation in one short ``BEGIN IMMEDIATE`` and commit it; ``durable``: its loss to a power cut
        would matter, so it is synced, after the lock is free, before this returns."""
        self._acquire()
        try:
            if self.read_only or self.in_transaction:
                self.refuse_writes()
            self._enter()
            execute = self.execute
            try:
                execute(_BEGIN_WRITE)
                self.time.write(execute)
                result = operation(self, *args, **kwargs)
                execute(_COMMIT)
                self._committed()
            except BaseException as error:
                self._undone(error)
                raise
            finally:
                self._active = False
            self._unlooked = unlooked = self._unlooked + 1
            if unlooked >= LOOK_EVERY_COMMITS or self.time.now >= self._look_at:
                self._look()
        finally:
            self._lock.release()
        if durable and self.durable:
            self._make_durable()
        return result

    def read(self, operation: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads, on one snapshot."""
        self._acquire()
        try:
            if self.in_transaction:
                return self.nested(operation, *args, **kwargs)
            if self._unshared is not None and self._unshared.changed():
                self._close_connection()
                self._open()
            self._enter()
            try:
                self.execute(sql.begin_read)
                self.time.read(self.execute)
                result = operation(self, *args, **kwargs)
                self.execute(_COMMIT)
                if self._unshared is not None:
                    self._unshared.check()
            except BaseException as error:
                self._undone(error)
                raise
            finally:
                self._active = False
            if self.time.now >= self._look_at:
                self._look()
            return result
        finally:
            self._lock.release()

    def checkpoint(self) -> None:
        """Copy what the -wal holds into the database, as far as no reader needs it there; a shrunk file shrinks now.
        Where that can't be done, another process being at it or the disk full, it is left to the next checkpoint."""
        if not self._sync.is_marked():
            frames, _ = self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            reserve.keep(self.path, frames * self._page_size)

    def make_room(self) -> bool:
        """On a full disk: give up the room that is kept for this, and let the -wal start over, so that what it takes up
        is there to be written to. Returns whether that may have helped."""
        given = reserve.give_up(self.path)
        size = self.read(lambda db: db.value(sql.page_count)) * self._page_size
        # A checkpoint that doesn't find room enough takes up all there is.
        if self._sync.is_marked() or not reserve.has_room(self.path, size):
            return given
        frames, copied = self._checkpoint(apsw.SQLITE_CHECKPOINT_RESTART)
        return given or 0 < frames == copied

    def _checkpoint(self, mode: int) -> tuple[int, int]:
        """The number of frames in the -wal, and how many are in the database, too; (0, 0) if unknown."""
        try:
            self._acquire()
        except BackendError:
            return 0, 0
        try:
            self.rows(sql.schema_version)  # a connection that has read nothing yet doesn't know its -wal
            return self.connection.wal_checkpoint(mode=mode)
        except apsw.Error:
            return 0, 0
        finally:
            self._lock.release()

    def checkpoint_findings(self) -> list[str]:
        """Warnings about checkpoints that fail in this process, or that fall behind in any process."""
        findings = []
        failing = self._checkpointer and self._checkpointer.last_error
        if failing:
            findings.append(f"{self.path}-wal: checkpoints of this process fail: {type(failing).__name__}: {failing}")
        frames, copied = self._checkpoint(apsw.SQLITE_CHECKPOINT_NOOP)
        if frames - copied >= BEHIND_FRAMES:
            findings.append(
                f"{self.path}-wal: {frames - copied} pages are not copied into the database yet, so it grows: some "
                "process reads in one long transaction, or checkpoints fail (the log of who writes tells why)"
            )
        return findings

    def _enter(self) -> None:
        """Refuse a call from within another on the same thread: a signal handler or a destructor that ran in its midst
        would commit half of what it does."""
        if self._active:
            raise InvalidStateError(f"{self.path}: called from within another call of the same store")
        self._active = True

    def refuse_writes(self) -> None:
        """Raise where the store's own writing methods can't be used."""
        if self.read_only:
            raise InvalidStateError(f"{self.path}: opened with read_only=True")
        if self.has_transaction():
            raise InvalidStateError("this thread has a transaction open: call the method on its tx")

    def _committed(self) -> None:
        """Follow up a commit. It has taken effect, so an error here is logged and not raised."""
        try:
            self.lanes.saved()
            self.time.saved()
            self.bell.ring(COMMITS)
            if self._checkpointer is not None:
                self._checkpointer.committed(self._frames[0])
            if self._ring:
                self.bell.ring(READY)
                self._ring = False
        except BaseException as error:  # noqa: BLE001 - it is raised there where it has to be
            self._follow_up_again(error)

    def _follow_up_again(self, error: BaseException) -> None:
        """Follow up a commit once more, each step by itself, after an error in one of them. The exception of a signal
        handler, such as ``KeyboardInterrupt``, is raised afterwards."""
        steps: list[Callable[[], None]] = [self.lanes.saved, self.time.saved, partial(self.bell.ring, COMMITS)]
        if self._ring:
            steps.append(partial(self.bell.ring, READY))
            self._ring = False
        for step in steps:
            with contextlib.suppress(Exception):
                step()
        if not isinstance(error, Exception):
            raise error
        log_after_commit(self.path, "committed, but an error followed", error)

    def _make_durable(self) -> None:
        """Sync what was committed. Raises ours where that fails, whatever the reason."""
        try:
            self.bell.ring(WRITER)
            if not self._sync.sync():
                self._make_good()
        except BackendError:
            if self._files.lost:
                self.look_now()
            raise
        except Exception as error:
            raise StoreUnavailableError(
                f"{self.path}: committed, but could not be synced, so it may not survive power loss "
                f"({type(error).__name__}: {error})"
            ) from error

    def _make_good(self) -> None:
        """Write and sync the frames of a failed sync again."""
        try:
            self._acquire()
        except StoreBusyError as error:
            raise StoreUnavailableError(f"{self.path}: committed, but could not be synced ({error})") from error
        try:
            self._enter()
            try:
                make_good(self._sync, self.connection)
            finally:
                self._active = False
            self._look()
        finally:
            self._lock.release()

    def _undone(self, error: BaseException) -> None:
        """Roll back after an error, and raise ours where it is one of SQLite's."""
        self._sync.note(error)
        try:
            system_errno = self.connection.system_errno
        finally:
            self.undo()
        if self._unshared is not None:
            self._unshared.check()
        if isinstance(error, (apsw.BusyError, apsw.ProtocolError)) and self._connection is not None:
            self._look()  # so does SQLite call it, for ever, when something has closed its descriptors
        if isinstance(error, FOREIGN) and not isinstance(error, BackendError):
            raise self._translated(error, system_errno) from error

    def _translated(self, error: BaseException, system_errno: int = 0, culprit: str = "") -> BackendError:
        """Our error for one that isn't. If a value in the file may have caused it, the error names that value."""
        stranger, self._stranger = self._stranger, ""
        if stranger:
            return StoreCorruptError(schema.not_ours(self.path, stranger))
        execute = getattr(self, "execute", None)
        culprit = culprit or (bad_values.culprit(execute, error) if execute else "")
        if culprit:
            return StoreCorruptError(f"{self.path}: {culprit} ({type(error).__name__}: {error})")
        return translate(error, self.path, system_errno)

    def undo(self) -> None:
        """Roll back whatever is open, and forget what was learned within it."""
        connection = self._connection
        try:
            if connection is not None and connection.in_transaction:
                try:
                    self.execute(sql.rollback)
                except apsw.Error:
                    # No memory for it, say. Ending the connection undoes it as well; the next call opens another.
                    self._close_connection()
                self.bell.ring(COMMITS)  # whoever waits for the writer needs to know of this end, too
            elif self._ring:  # the exception of a signal handler came after COMMIT, before others were told
                self.bell.ring(COMMITS)
                self.bell.ring(READY)
        finally:
            self._ring = False
            self.lanes.forget()
            self.time.forget()

    # -- transaction(): open over several calls

    def begin(self, timeout: float, owner: int) -> None:
        """Take the write lock for a transaction of the caller's, waiting for it at most ``timeout`` seconds."""
        self._acquire(timeout)
        try:
            self.refuse_writes()
            if self._active:
                raise InvalidStateError(f"{self.path}: called from within another call of the same store")
            self._be_patient(timeout)
            try:
                self.execute(sql.begin_write)
            finally:
                self._be_patient(self.busy_timeout)
            self._holder = get_ident()
            self._owner = owner
            self.in_transaction = True
        except BaseException as error:
            try:
                if not (self.in_transaction or self._active):  # else there is one that isn't this call's
                    self.undo()
            finally:
                self._lock.release()
            if isinstance(error, apsw.Error):
                raise self._translated(error) from error
            raise

    def _be_patient(self, seconds: float) -> None:
        if self._waiter is None:
            self.connection.set_busy_handler(patience(seconds))
        else:
            self._waiter.set_timeout(seconds)

    def has_transaction(self) -> bool:
        """Whether this very thread has `transaction()` open. (Who holds the lock may just look at the flag.)"""
        return self.in_transaction and self._holder == get_ident()

    def is_closed(self) -> bool:
        """Whether the store was closed, as it is in the child of a fork within the transaction."""
        return self._closed

    def is_open(self) -> bool:
        """Whether the transaction is still open; SQL of the caller's may have made SQLite roll it back."""
        if self._connection is None and not self._closed:  # ended, since a call in it could not be undone
            return False
        return bool(self.connection.in_transaction)

    def nested(self, operation: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation within the open transaction; if it raises, it alone is undone."""
        forks.guard(self.path)
        connection = self.connection
        self._enter()
        try:
            self.execute(sql.savepoint)
            try:
                self.time.write(self.execute)
                result = operation(self, *args, **kwargs)
            except BaseException:
                self.lanes.forget()
                self.time.forget()
                self._undo_call(connection)
                raise
            self.execute(sql.savepoint_release)
            return result
        except BackendError:
            raise
        except FOREIGN as error:
            raise self._translated(error, 0 if self._connection is None else connection.system_errno) from error
        finally:
            self._active = False

    def _undo_call(self, connection: apsw.Connection) -> None:
        """Undo the changes of one call within the transaction; if that fails, those of the whole transaction."""
        if not connection.in_transaction:
            return
        try:
            self.execute(sql.savepoint_rollback)
            self.execute(sql.savepoint_release)
        except apsw.Error:
            self.undo()

    def execute_foreign(self, statement: str, params: Any, time_is_up: Callable[[], bool]) -> Rows:
        """Run the caller's own SQL, under the rules of ``guard``; it alone is undone if it raises. It is interrupted
        once ``time_is_up``."""
        forks.guard(self.path)
        connection = self.connection
        guard = Guard()
        self._enter()
        try:  # with no call in between, at which the exception of a signal handler could come
            self.execute(sql.savepoint)
            try:
                rows = self._run_foreign(connection, guard, statement, params, time_is_up)
            except BaseException as error:
                self._undo_call(connection)
                if guard.refused:
                    raise InvalidArgumentError(f"sql must not contain {guard.refused}: {shown(statement)}") from error
                raise
            if connection.in_transaction:
                self.execute(sql.savepoint_release)
            return rows
        finally:
            self._active = False

    def _run_foreign(
        self, connection: apsw.Connection, guard: Guard, statement: str, params: Any, time_is_up: Callable[[], bool]
    ) -> Rows:
        connection.set_progress_handler(lambda: self._foreign is not None and time_is_up(), _STEPS_BETWEEN_LOOKS)
        self._foreign = guard
        try:
            # Not from the cache, where our own COMMIT waits prepared and permitted.
            rows = connection.execute(statement, params, can_cache=False).fetchall()
        finally:
            self._foreign = None
            connection.set_progress_handler(None)
        if guard.defines and connection.in_transaction:
            guard.refused = schema.harmed(self.execute)
            if guard.refused:
                raise apsw.AuthError(guard.refused)
        return rows

    def _authorize(
        self, action: int, first: str | None, second: str | None, _database: str | None, context: str | None
    ) -> int:
        if self._foreign is not None:
            return self._foreign.judge(action, first, second)
        if is_strange(action, context):
            self._stranger = str(context)
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK

    def abandon(self, owner: int) -> None:
        """Roll back what this thread has begun as ``owner`` and nobody has ended."""
        if self.has_transaction() and self._owner == owner:
            self.end(commit=False)

    def end(self, commit: bool) -> None:
        """End the transaction and let others in."""
        if self._closed:
            raise StoreClosedError(
                f"{self.path}: this process was forked within the transaction, which is its parent's"
            )
        try:
            if commit:
                try:
                    self.execute(sql.commit)
                except apsw.Error as error:
                    self._sync.note(error)
                    raise self._translated(error, self.connection.system_errno) from error
                self._committed()
        finally:
            try:
                self.undo()
            finally:
                self.in_transaction = False
                self._lock.release()
        if commit and self.durable:
            self._make_durable()
        elif commit:
            self.look_now()

    # -- for the operations

    @property
    def connection(self) -> apsw.Connection:
        """The open connection."""
        if self._connection is None:
            raise StoreClosedError(f"{self.path}: the store is closed")
        return self._connection

    def rows(self, statement: Statement[Row], *bindings: Any) -> list[Row]:
        """Return all rows of a statement, which is finished then."""
        rows: list[Any] = self.execute(statement, bindings).fetchall()
        make = ROW_MAKERS.get(statement)
        return rows if make is None else list(map(make, rows))

    def value(self, statement: Statement[tuple[T]], *bindings: Any) -> T:
        """Return the first column of the first row."""
        rows: list[Any] = self.execute(statement, bindings).fetchall()
        value: T = rows[0][0]
        return value

    def scan(self, lanes: array[int], limit: int, aging: int | None, moving: bool) -> array[int]:
        """Ids of the tasks in these lanes that may be claimed now, in order."""
        assert self._scanner is not None
        try:
            return self._scanner.ready_ids(lanes, self.time.now, aging, limit, moving)
        except InvalidArgumentError as error:
            raise StoreCorruptError(f"{self.path}: claims_meta row 1: {error}") from error

    # -- forks

    def before_fork(self, wait: float) -> bool:
        if not self._lock.acquire(timeout=wait):
            return False
        if self.in_transaction or self._active:  # of this very thread
            self._lock.release()
            return False
        closed = False
        with contextlib.suppress(apsw.Error, BackendError):
            closed = self._close_connection(wait)
        if not closed:
            self._lock.release()
        return closed

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self, usable: bool) -> None:
        for session in self.own_sessions:
            session.drop()
        self.own_sessions.clear()
        self.long_reads.clear()
        for feed in self.own_feeds:
            feed.drop()
        self.own_feeds.clear()
        self._drop_sessions()
        self._lock = threading.RLock()
        self._owned = self._lock._is_owned  # type: ignore[attr-defined]
        self._active = False
        self.in_transaction = False
        lost = self._files.database_lost
        self._watch_files()
        self._files.database_lost = lost
        if not usable:
            self._closed = True
            # The scanner's statements too: ending them waits for whatever the parent's threads were amidst.
            for held in (self._connection, self._scanner):
                if held is not None:
                    forks.leak(held)
            self._connection = self._scanner = None
            self._checkpointer = None
