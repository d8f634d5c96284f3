"""Open connections to the file: flags, pragmas, the wait for the write lock. No other module opens the file.

Every setting is here, with its reason. Nothing in this module knows a table.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import apsw

from ..errors import StoreUnavailableError
from .hooks import HookedConnection
from .open_files import MISSING_WAIT_S, is_locked, refuse_missing
from .statements import sql

# Of a file that a store creates: measured 14 % more claim cycles a second than 4096, and half the -wal.
PAGE_SIZE = 2048
WAL_BYTES_MAX = 64 << 20
# More than the statements there are, so that none is ever prepared twice.
_STATEMENT_CACHE = 256

_open: dict[str, weakref.WeakSet[object]] = {}
_most: dict[str, int] = {}  # the most connections at once since there was none
_counting = threading.Lock()


def apsw_version() -> str:
    """The version of apsw."""
    return apsw.apsw_version()


def sqlite_version() -> str:
    """The version of the SQLite that apsw contains."""
    return apsw.sqlite_lib_version()


def connect(
    path: str, *, create: bool, read_only: bool, busy_timeout: float, vfs: str | None = None
) -> HookedConnection:
    """Open a connection by the policy. Writes nothing; raises apsw's errors."""
    if read_only:
        flags = apsw.SQLITE_OPEN_READONLY
    else:
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    connection = _counted(path, path, flags=flags, vfs=vfs, statementcachesize=_STATEMENT_CACHE)
    try:
        refuse_missing(path, min(busy_timeout, MISSING_WAIT_S), is_locked)
        # Undo what apsw.connection_hooks of the application may have set: rows are read as tuples here.
        connection.cursor_factory = apsw.Cursor
        connection.row_trace = None
        connection.pragma("locking_mode", "normal")
        connection.set_busy_handler(patience(busy_timeout))
        # Without it SQLite re-plans cached statements when their bindings change: 10 to 23 µs a call instead of 2.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        # The schema may be somebody else's: its expressions call no function that does more than compute, and no SQL
        # writes the schema itself, an FTS index's inner tables, or pages.
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        # NORMAL never syncs inside COMMIT, under the write lock; what must be durable is synced after it is free.
        connection.execute(sql.synchronous_normal)
        # A thread does it, see checkpoints.py. (A hook of the application's stands in for SQLite's own.)
        if connection.wal_hook is None:
            connection.wal_autocheckpoint(0)
        # What a reader that stayed too long has let the -wal grow to is given back when it next starts over.
        connection.pragma("journal_size_limit", WAL_BYTES_MAX)
    except BaseException:
        connection.close(True)
        raise
    return connection


def connect_to_file_alone(path: str) -> HookedConnection:
    """Open for reading what stands in the file itself, without locks and whatever its -wal holds. (The descriptor is
    SQLite's own all the same, so that closing it drops no lock of other connections.)"""
    quoted = path
    for char in "%?#":
        quoted = quoted.replace(char, f"%{ord(char):02x}")
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return _counted(path, f"file:{quoted}?immutable=1", flags=flags)


def connect_without_locks(path: str) -> HookedConnection:
    """Open for reading a file and its -wal, without locks and without a -shm: SQLite keeps the index of the -wal in its
    own memory, where a connection is exclusive. Closing it drops the locks that this process has on the file, so it is
    for files of which nobody can make the -shm."""
    connection = _counted(path, path, flags=apsw.SQLITE_OPEN_READONLY, vfs="unix-none")
    connection.execute(sql.locking_mode_exclusive)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


class _Opening:
    """Is counted in place of a connection that is being opened."""


def _counted(path: str, name: str, **options: Any) -> HookedConnection:
    """Open a connection, counted before it has a descriptor: another thread may be counting those."""
    opening = _Opening()
    with _counting:
        others = _open.setdefault(path, weakref.WeakSet())
        if not others:
            _most.pop(path, None)
        others.add(opening)
        _most[path] = max(_most.get(path, 0), len(others))
    connection = HookedConnection(name, **options)
    with _counting:
        others.discard(opening)
        others.add(connection)
    return connection


def _renew_lock() -> None:
    global _counting
    _counting = threading.Lock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def descriptors_max(path: str) -> int:
    """How many descriptors of the file SQLite may have for our connections in this process. It keeps those of closed
    ones, for closing them would drop its locks, until the last is closed, and uses them again before it opens more."""
    return _most.get(path, 0)


def patience(seconds: float) -> Callable[[int], bool]:
    """A busy handler: yield twice, then short naps, for ``seconds`` in all. SQLite's own naps grow to 100 ms, in
    which time others overtake without end. (Where there is a doorbell its handler in C takes over.)"""
    deadline = 0.0

    def wait(tries: int) -> bool:
        nonlocal deadline
        now = time.monotonic()
        if tries == 0:
            deadline = now + seconds
        if now >= deadline:
            return False
        if tries < 2:
            os.sched_yield()
        else:
            time.sleep(min(0.0002 * (tries - 1), 0.002, deadline - now))
        return True

    return wait


def use_wal(connection: apsw.Connection, path: str, busy_timeout: float) -> None:
    """Put the file into WAL mode, where it isn't yet. A new file gets our page size first."""
    if connection.pragma("journal_mode") == "wal":
        return
    if connection.pragma("page_count") == 0:
        connection.pragma("page_size", PAGE_SIZE)
        connection.pragma("auto_vacuum", "incremental")  # so that prune can give space back
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            mode = connection.pragma("journal_mode", "wal")
            break
        except apsw.BusyError:
            # SQLite doesn't ask the busy handler for this lock where waiting could deadlock.
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.002)
    if mode != "wal":
        raise StoreUnavailableError(f"{path}: this file system allows no WAL (journal mode stays {mode!r})")
