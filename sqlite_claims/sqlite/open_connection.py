"""An open connection to a store's file, the objects that exist only while the connection is open, and the steps of
opening."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable
from typing import NamedTuple

import apsw

from ..errors import BackendError, StoreFullError, StoreUnavailableError
from . import bad_values, c_core, forks, older_schema, schema
from .authorizer import Authorizer
from .connection import connect, patience, use_wal
from .doorbell import Doorbell, FutexBell
from .error_translation import DISK_FULL, TRANSLATED, translate
from .files.paths import check_place, has_content, is_full, may_write
from .hooks import HookedConnection
from .open_files import MISSING_WAIT_S, refuse_missing
from .read_only import UnsharedFiles, connect_to_read
from .scan import Scanner, ScanStatements, open_scanner
from .sessions.session_file import SessionFile, any_connected
from .statements import sql
from .store_files import StoreFiles
from .store_time import StoreTime
from .wal.checkpoints import RESTART_WAIT_S, Checkpointer

_SCAN = ScanStatements(sql.scan_head, sql.scan_range, sql.scan_instance_state)


class Settings(NamedTuple):
    """The settings with which a store is opened."""

    path: str
    read_only: bool
    durable: bool
    busy_timeout: float
    use_c_core: bool | None


class OpenConnection:
    """An open connection with all its parts. The object is created only after every part was opened.

    All statements of the store use one cursor, since creating a cursor costs more than running most statements.
    ``execute`` is the method of this cursor. If an interrupt leaves a statement unfinished, the next statement on the
    same cursor ends the unfinished statement. So a rollback has to use this cursor, too.
    """

    __slots__ = (
        "bell",
        "changes",
        "checkpointer",
        "connection",
        "execute",
        "executemany",
        "frames",
        "is_old",
        "page_size",
        "scanner",
        "unshared",
        "waiter",
    )

    def __init__(
        self,
        connection: apsw.Connection,
        scanner: Scanner,
        unshared: UnsharedFiles | None,
        joined: _Joined,
        *,
        is_old: bool,
    ) -> None:
        self.connection = connection
        self.is_old = is_old
        """True if the file has an older schema version. Then the store is read-only."""
        execute = connection.cursor().execute
        self.execute: Callable[..., apsw.Cursor] = execute
        if is_old:
            self.execute = lambda statement, *bindings: execute(older_schema.translated(statement), *bindings)
        self.executemany = connection.executemany
        self.changes = connection.changes
        self.scanner = scanner
        self.unshared = unshared
        """The files to check for changes, if the connection had to be opened for reading without locks; otherwise
        ``None``."""
        self.bell, self.waiter, self.frames, self.page_size, self.checkpointer = joined

    def set_busy_timeout(self, seconds: float) -> None:
        """Set the longest time for which a statement waits for the write lock."""
        if self.waiter is None:
            self.connection.set_busy_handler(patience(seconds))
        else:
            self.waiter.set_timeout(seconds)

    def renew_bell(self, path: str) -> Doorbell:
        """Open the ``-bell`` file again if the file was removed, replaced or truncated. With the old file, the store
        could neither wake other processes nor be woken by other processes. Return the doorbell to use."""
        bell = self.bell
        if self.waiter is not None and isinstance(bell, FutexBell) and not bell.in_place():
            with contextlib.suppress(OSError):  # for example, the disk is full; the next check opens the file
                self.bell = bell = FutexBell(bell.core, path)
                self.waiter.set_bell(bell)
        return self.bell

    def checkpoint(self, mode: int) -> tuple[int, int]:
        """Run a checkpoint. Return the number of frames in the -wal file, and the number of these frames that are
        copied into the database."""
        self.execute(sql.schema_version).fetchall()  # SQLite opens the -wal file only at a connection's first read
        return self.connection.wal_checkpoint(mode=mode)

    def end_checkpoints(self, wait: float | None) -> bool:
        """End the checkpoint thread, and close the thread's connection. Return ``False`` if the thread doesn't end
        within ``wait`` seconds; the thread then continues to run."""
        if self.checkpointer is not None and not self.checkpointer.close(wait):
            return False
        self.checkpointer = None
        return True

    def __del__(self) -> None:
        if (checkpointer := getattr(self, "checkpointer", None)) is not None:
            checkpointer.abandon()


class _Joined(NamedTuple):
    """The parts of an open connection that communicate with other processes."""

    bell: Doorbell
    waiter: c_core.BusyWaiter | None = None
    frames: array[int] = array("i", [0])
    """An array of one number: how many frames the -wal file had at this connection's last commit."""
    page_size: int = 0
    checkpointer: Checkpointer | None = None


class Opening:
    """The steps of opening a connection, and the parts that must be closed again if a step fails."""

    def __init__(
        self,
        settings: Settings,
        *,
        create: bool,
        time: StoreTime,
        files: StoreFiles,
        bell: Doorbell,
        authorizer: Authorizer,
        ring_writer: Callable[[], None],
    ) -> None:
        """``bell``: the doorbell to use if the C core is not used. ``ring_writer``: a function that reports to other
        processes that a checkpoint has released the write lock. The function must not hold a reference to the store."""
        self._settings = settings
        self._path = settings.path
        self._create = create and not settings.read_only
        self._time = time
        self._files = files
        self._bell = bell
        self._authorizer = authorizer
        self._ring_writer = ring_writer
        self._core = None if settings.use_c_core is False else c_core.load()
        self._connection: HookedConnection | None = None
        self._unshared: UnsharedFiles | None = None
        self._scanner: Scanner | None = None
        self._had_wal = False
        self._is_old = False

    def run(self) -> OpenConnection:
        """Open the connection. If the open fails, close all parts again, and raise ``BackendError``."""
        path = self._path
        forks.check(path)
        self._time.enter_namespace(path)
        self._files.raise_loss()
        existed = check_place(path, create=self._create)
        wait = min(self._settings.busy_timeout, MISSING_WAIT_S)
        if has_content(path):
            refuse_missing(path, wait)
        self._had_wal = has_content(f"{path}-wal")
        # True if a killed process has left the -wal file behind. If a sync had failed in that process, no other process
        # would know of the failure.
        was_killed = self._had_wal and not self._settings.read_only and not any_connected(path)
        try:
            connection = self._connect_to_read(wait) if self._settings.read_only else self._connect_to_write()
            joined = self._join(connection)
            scan = ScanStatements(*map(older_schema.translated, _SCAN)) if self._is_old else _SCAN
            self._scanner = open_scanner(connection, self._settings.use_c_core, scan)
            self._files.watch()
            if was_killed:
                self._files.sync.mark_failed()
            connection.add_authorizer(self._authorizer)
            return OpenConnection(connection, self._scanner, self._unshared, joined, is_old=self._is_old)
        except BaseException as error:
            self._files.sync.note(error)
            culprit = "" if self._connection is None else bad_values.culprit(self._connection.execute, error)
            system_errno = self._close_failed_open()
            if isinstance(error, TRANSLATED) and not isinstance(error, BackendError):
                raise self._error(error, existed, system_errno, culprit) from error
            raise

    def _connect_to_read(self, wait: float) -> HookedConnection:
        if not self._had_wal:
            schema.peek(self._path, wait)
        self._connection, self._unshared = connect_to_read(self._path, self._settings.busy_timeout)
        self._is_old = schema.check(self._connection, self._path, create=False, read_only=True)
        return self._connection

    def _connect_to_write(self) -> HookedConnection:
        path, busy_timeout = self._path, self._settings.busy_timeout
        vfs = None if self._core is None else c_core.vfs()
        connection = self._connection = connect(
            path, create=self._create, read_only=False, busy_timeout=busy_timeout, vfs=vfs
        )
        is_old = schema.check(connection, path, create=self._create, read_only=False)
        use_wal(connection, path, busy_timeout)
        if is_old:
            schema.migrate(connection, self._time.clock)
        if schema.forget_statistics(connection):  # this connection may have read the statistics
            self._connection = None
            connection.close(True)
            connection = self._connection = connect(
                path, create=False, read_only=False, busy_timeout=busy_timeout, vfs=vfs
            )
        return connection

    def _join(self, connection: HookedConnection) -> _Joined:
        """Read the store time, and make this connection visible to the other processes that have the store open."""
        sessions = self._files.open_sessions()
        if self._settings.read_only:
            self._time.load(connection)
            return _Joined(self._bell)
        self._time.start(connection, self._path, sessions)
        self._files.begin_sessions(connection)
        sessions.arrive()
        waiter = self._install_waiter(connection)
        return _Joined(self._bell, waiter, *self._install_wal_hooks(connection, sessions))

    def _install_waiter(self, connection: HookedConnection) -> c_core.BusyWaiter | None:
        """Use the doorbell in C if possible, and make the connection wait for the write lock on that doorbell."""
        core = self._core
        if core is None:
            return None
        if not isinstance(self._bell, FutexBell):
            try:
                self._bell = FutexBell(core, self._path)
            except OSError:
                return None  # the platform has no futexes, or the disk is full, so the store polls
        return core.install_waiter(connection, self._bell, self._settings.busy_timeout)

    def _install_wal_hooks(
        self, connection: HookedConnection, sessions: SessionFile
    ) -> tuple[array[int], int, Checkpointer]:
        """Install the hook that counts the frames of the -wal file, let the C core gather the writes of a commit, and
        prepare the checkpoint thread. Return the frame count, the page size and the ``Checkpointer``."""
        core, theirs = self._core, connection.wal_hook
        page_size = connection.pragma("page_size")
        if core is None or theirs is not None:
            frames = array("i", [0])

            def note(connection: apsw.Connection, schema: str, number: int) -> int:
                frames[0] = number
                return apsw.SQLITE_OK if theirs is None else theirs(connection, schema, number)

            connection.set_wal_hook(note)
        else:
            frames = core.count_frames(connection)
        if core is not None and not connection.has_commit_hook:
            core.gather_writes(connection, page_size, grows=self._settings.durable)
        path, opened_files = self._path, self._files.opened

        def connect_for_checkpoints() -> apsw.Connection:
            opened_files.check()
            return connect(path, create=False, read_only=False, busy_timeout=RESTART_WAIT_S)

        checkpointer = Checkpointer(path, connect_for_checkpoints, sessions, self._ring_writer, self._files.sync)
        return frames, page_size, checkpointer

    def _close_failed_open(self) -> int:
        """Close all parts again after a failed open. Return the operating system's last error number on the
        connection."""
        system_errno = 0
        if self._scanner is not None:
            self._scanner.close()
        connection = self._connection
        if connection is not None:
            system_errno = connection.system_errno
            if self._had_wal:  # the file may not be a store, so write nothing to it
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.close(True)
        self._files.drop_sessions()
        return system_errno

    def _error(self, error: BaseException, existed: bool, system_errno: int, culprit: str) -> BackendError:
        path = self._path
        if isinstance(error, apsw.CantOpenError) and is_full(path):
            return StoreFullError(f"{path}: the disk is full, or has no room for more files ({error})")
        if isinstance(error, apsw.CantOpenError) and not existed and system_errno not in DISK_FULL:
            return StoreUnavailableError(f"{path}: cannot be created ({error})")
        if existed and not self._settings.read_only and not may_write(path):
            return StoreUnavailableError(
                f"{path}: this process may not write to the file, or not to its folder ({error}); "
                "read_only=True reads it"
            )
        return translate(error, path, system_errno, culprit)
