"""A store's connection to its file. The first call that needs the connection opens the connection. Threads share the
connection under a lock. A fork closes the connection. Checks detect a loss of the connection's files."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable
from functools import partial
from os import getpid
from typing import NoReturn, Protocol

import apsw

from ..clock import Clock
from ..errors import (
    BackendError,
    InvalidStateError,
    StoreBusyError,
    StoreClosedError,
    StoreFullError,
    StoreUnavailableError,
)
from . import forks
from .authorizer import Authorizer
from .doorbell import WRITER, Doorbell
from .error_translation import log_after_commit
from .files import reserve
from .open_connection import OpenConnection, Opening, Settings
from .sessions.session_file import SessionFile
from .store_files import StoreFiles
from .store_time import StoreTime
from .wal.checkpoints import RESTART_WAIT_S
from .wal.durability import recover

# The interval at which a store in use checks whether its files are still in place.
CHECK_EVERY_US = 1_000_000


class Stoppable(Protocol):
    """A long read that uses its own connection."""

    def stop(self, *, wait: bool) -> None:
        """End the long read."""


class StoreConnection:
    """The connection of one store, and the lock that a thread takes for each call.

    ``acquire`` takes the lock. ``acquire`` also opens the connection if the connection is closed, for example after a
    fork.
    """

    # ``__slots__`` makes each transaction faster, because the class has too many attributes for Python's key-sharing
    # dictionaries.
    __slots__ = (
        "__weakref__",
        "_check_due",
        "_commits_unchecked",
        "_create",
        "_is_owned",
        "_lock",
        "_opened",
        "_settings",
        "authorizer",
        "bell",
        "busy_timeout",
        "changes",
        "durable",
        "execute",
        "executemany",
        "files",
        "in_call",
        "local_feeds",
        "local_sessions",
        "long_reads",
        "path",
        "read_only",
        "store_closed",
        "time",
        "transaction",
    )

    execute: Callable[..., apsw.Cursor]
    executemany: Callable[..., apsw.Cursor]
    changes: Callable[[], int]

    def __init__(self, settings: Settings, *, create: bool, clock: Clock, bell: Doorbell) -> None:
        """``bell``: the doorbell to use if the C core is not used."""
        self._settings = settings
        self._create = create
        self.path = settings.path
        self.read_only = settings.read_only
        self.durable = settings.durable
        self.busy_timeout = settings.busy_timeout
        self.time = StoreTime(clock)
        self.files = StoreFiles(self.path, read_only=self.read_only, time=self.time)
        self.local_sessions = self.files.local_sessions
        self.local_feeds = self.files.local_feeds
        self.long_reads: set[Stoppable] = set()  # the long reads in progress
        self.transaction: object | None = None  # an open transaction, whose thread holds the lock
        self.in_call = False  # true while a call is in progress; the calling thread holds the lock
        self.store_closed = False  # true after `close`, and in a forked child that can't use the store
        self.authorizer = Authorizer()
        self.bell = bell
        self._commits_unchecked = 0  # the number of commits since the files were last checked
        self._opened: OpenConnection | None = None
        self._forget_file()
        self._make_lock()
        with self._lock:
            forks.register(self)  # register before the first open, so that no fork copies an open connection
            self._open()

    def _make_lock(self) -> None:
        self._lock = threading.RLock()
        # `_is_owned` is private, but threading.Condition uses this method, too. A field can't replace the method,
        # because a signal handler may raise an exception after the lock is taken and before the field is set.
        self._is_owned = self._lock._is_owned  # type: ignore[attr-defined]

    def _forget_file(self) -> None:
        """Reset all data about the connection and the file, because the next open may find a different file."""
        # This function is not a method of the store. A reference to a method would be a reference cycle, which would
        # keep an unused store in memory.
        self.execute = self.executemany = self.changes = partial(_raise_closed, self.path)
        self._check_due = 0  # store time of the next check of the files

    # -- opening and closing

    def _open(self) -> None:
        try:
            self._open_once()
        except StoreFullError:
            if self.read_only or not reserve.release(self.path):
                raise
            self._open_once()
        else:
            if not self.read_only:
                reserve.keep(self.path)

    def _open_once(self) -> None:
        opened = Opening(
            self._settings,
            create=self._create,
            time=self.time,
            files=self.files,
            bell=self.bell,
            authorizer=self.authorizer,
            ring_writer=partial(_ring_writer, weakref.ref(self)),
        ).run()
        self.authorizer.caller_sql = None
        self.bell = opened.bell
        self.execute = opened.execute
        self.executemany = opened.executemany
        self.changes = opened.changes
        self._opened = opened
        self._create = False  # from now on, a missing file is an error

    @property
    def opened(self) -> OpenConnection:
        """The open connection with its parts."""
        if self._opened is None:
            _raise_closed(self.path)
        return self._opened

    @property
    def connection(self) -> apsw.Connection:
        """The open SQLite connection."""
        return self.opened.connection

    @property
    def sessions(self) -> SessionFile | None:
        """The ``-sessions`` file."""
        return self.files.sessions

    def is_connected(self) -> bool:
        """Return whether the connection is open at present."""
        return self._opened is not None

    def close(self) -> None:
        """Close the connection, end this store's worker sessions, and release this store's locks on the ``-sessions``
        file. A second call does nothing."""
        if getpid() != forks.pid:
            self.store_closed = True
            return
        with self._lock:
            if self.in_call:
                self._raise_reentry()
            sessions = [] if self.store_closed else list(self.local_sessions)
        for session in sessions:
            session.close()
        with self._lock:
            self.store_closed = True
            for read in list(self.long_reads):
                read.stop(wait=True)
            was_reported = self.files.has_loss()
            self.files.drop_local()  # a different thread may have opened sessions while this thread waited
            try:
                self._close_connection()
            except Exception as error:  # noqa: BLE001 - everything is committed, and there is nothing to try again
                log_after_commit(self.path, "closing the file caused an error", error)
            self.files.drop_sessions()
            if not self.read_only:
                reserve.keep_least(self.path)
            if not was_reported:
                self.files.raise_loss()

    def _close_connection(self, wait: float | None = None) -> bool:
        """Close the store's connection and the connection for checkpoints. If the checkpoint thread doesn't end within
        ``wait`` seconds, leave both connections open, and return ``False``."""
        opened = self._opened
        if opened is not None:
            if not opened.end_checkpoints(wait):
                return False
            self.files.save(opened.connection)
            self._recover_or_keep_wal(opened)
        self._opened = None
        self._forget_file()
        with contextlib.ExitStack() as stack:  # if one callback raises an exception, the others still run
            stack.callback(self.files.disconnected)
            if opened is not None:
                stack.callback(opened.connection.close, True)
            stack.callback(self.files.sync.close)
            if opened is not None:
                stack.callback(opened.scanner.close)
        return True

    def _recover_or_keep_wal(self, opened: OpenConnection) -> None:
        """Recover from a failed sync before a connection is closed. If the recovery fails, prevent SQLite from copying
        the -wal file into the database, because a power cut may still remove frames from the -wal file."""
        if self.read_only or not self.files.sync.is_marked():
            return
        try:
            opened.set_busy_timeout(RESTART_WAIT_S)
            recover(self.files.sync, opened.connection)
        except (apsw.Error, BackendError, OSError):  # the mark remains set, so the next process recovers
            opened.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)

    # -- the lock

    def acquire(self, timeout: float | None = None) -> None:
        """Take the lock, and open the connection if the connection is closed. ``timeout``: how many seconds to wait for
        the lock; ``None``: the busy timeout."""
        if getpid() != forks.pid:
            forks.check(self.path)  # check first, because in a forked child the lock may stay locked for ever
        lock = self._lock
        if self._is_owned() and not self.in_call and self.transaction is None:
            # The exception of a signal handler prevented this thread from releasing the lock after an earlier call.
            while self._is_owned():
                lock.release()
        if not lock.acquire(blocking=False):
            wait = self.busy_timeout if timeout is None else timeout
            if not lock.acquire(timeout=min(wait, threading.TIMEOUT_MAX)):
                raise StoreBusyError(f"{self.path}: another thread of this process is using the store")
        if self._opened is not None:
            return
        try:
            if self.store_closed:
                _raise_closed(self.path)
            self._open()
        except BaseException:
            lock.release()
            raise

    def release(self) -> None:
        """Release the lock of this connection."""
        self._lock.release()

    def refuse_reentry(self) -> None:
        """Begin a call. Raise an error if this thread is already within a call. Otherwise a signal handler or a
        destructor that uses the store during a call would commit half of that call's changes. The caller has to reset
        ``in_call`` at the end of the call."""
        if self.in_call:
            self._raise_reentry()
        self.in_call = True

    def _raise_reentry(self) -> NoReturn:
        raise InvalidStateError(f"{self.path}: called during another call of the same store")

    # -- the files

    def _check_files(self) -> None:
        """Raise an error if a file of the connection was removed or replaced. The next call opens the files that exist
        at the time of that call."""
        self._commits_unchecked = 0
        side_files_too = self.time.now >= self._check_due  # less often, because the loss of a side file loses no commit
        if side_files_too:
            self._check_due = self.time.now + CHECK_EVERY_US
        try:
            self.files.opened.check()
        except StoreUnavailableError as error:
            try:
                self._close_connection()
            except OSError as nested:  # other code has also closed descriptors of the library
                log_after_commit(self.path, "closing the file caused an error", nested)
                self.files.drop_sessions()
            self.files.raise_loss()
            saved = "" if self.read_only else ". Everything that this process has committed was saved into the database"
            raise StoreUnavailableError(f"{error}{saved}") from None
        if side_files_too and self._opened is not None:
            self.files.check_sessions(self._opened.connection)
            self.bell = self._opened.renew_bell(self.path)

    def check_files(self) -> None:
        """Raise an error if a file of the store was removed or replaced."""
        self.acquire()
        try:
            if not self.in_call and self.transaction is None:
                self._check_files()
        finally:
            self._lock.release()

    def check_files_soon(self) -> None:
        """Request a check of the files at the end of the current call."""
        self._check_due = 0

    def check_before_connecting(self) -> None:
        """Raise an error if a file was removed or replaced. Call this method, from any thread, before this process
        opens one more connection. After an error, the next call of the store opens the files again."""
        try:
            self.files.check_before_connecting()
        except StoreUnavailableError:
            self.check_files_soon()
            raise

    # -- forks

    def before_fork(self, wait: float) -> bool:
        if not self._lock.acquire(timeout=wait):
            return False
        if self.transaction is not None or self.in_call:  # the forking thread itself has a transaction or a call open
            self._lock.release()
            return False
        closed = False
        with contextlib.suppress(apsw.Error, BackendError):  # the child then can't use the store
            closed = self._close_connection(wait)
        if not closed:
            self._lock.release()
        return closed

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self, usable: bool) -> None:
        self.files.after_fork_in_child()
        self.long_reads.clear()
        self._make_lock()
        self.in_call = False
        self.transaction = None
        self._check_due = self._commits_unchecked = 0
        if not usable:
            self.store_closed = True
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.checkpointer = None
                forks.leak(opened)  # including its statements: finalizing a statement waits for the parent's threads


def _raise_closed(path: str, *_: object) -> NoReturn:
    raise StoreClosedError(f"{path}: the store is closed")


def _ring_writer(store: weakref.ref[StoreConnection]) -> None:
    """Report to other processes that a checkpoint has released the write lock. The reference to the store is weak, so
    that the checkpoint thread doesn't keep an unused store in memory."""
    if (db := store()) is not None:
        db.bell.ring(WRITER)
