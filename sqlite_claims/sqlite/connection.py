"""Opening SQLite connections to a store's file: flags, pragmas, and the wait for the write lock. No other module opens
a store's file.

This module contains every setting of a connection, with the reason for the setting. The module uses no table of the
store.
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

# The page size of a file that a store creates. In measurements, a file with this page size had 14 % more claim cycles
# per second than a file with 4096 bytes per page, and a -wal file of half the size.
PAGE_SIZE = 2048
WAL_BYTES_MAX = 64 << 20
# The number of statements in a connection's cache. apsw searches the whole cache for each statement. With a place for
# each of the store's statements, a cycle of claim and completion would execute 5 % more instructions.
_STATEMENT_CACHE = 64

_open: dict[str, weakref.WeakSet[object]] = {}
_most: dict[str, int] = {}  # the peak number of open connections to each path; reset when none is open
_counting = threading.Lock()


def apsw_version() -> str:
    """Return the version of apsw."""
    return apsw.apsw_version()


def sqlite_version() -> str:
    """Return the version of the SQLite library that apsw contains."""
    return apsw.sqlite_lib_version()


def connect(
    path: str, *, create: bool, read_only: bool, busy_timeout: float, vfs: str | None = None
) -> HookedConnection:
    """Open a connection with the settings that a store's connections have in common. Write nothing to the file. Raise
    apsw's exceptions."""
    if read_only:
        flags = apsw.SQLITE_OPEN_READONLY
    else:
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    connection = _counted(path, path, flags=flags, vfs=vfs, statementcachesize=_STATEMENT_CACHE)
    try:
        refuse_missing(path, min(busy_timeout, MISSING_WAIT_S), is_locked)
        # Undo settings that apsw.connection_hooks of the application may have made, because the store needs rows as
        # plain tuples.
        connection.cursor_factory = apsw.Cursor
        connection.row_trace = None
        connection.pragma("locking_mode", "normal")
        connection.set_busy_handler(patience(busy_timeout))
        # Without this setting, SQLite plans a cached statement again when the statement's bindings change. A call then
        # takes 10 to 23 µs instead of 2 µs.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        # A different program may have written parts of the schema. So expressions in the schema may only call functions
        # without side effects. No SQL may write to the schema table, to the internal tables of an FTS index, or
        # directly to pages.
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        # With NORMAL, SQLite never syncs the -wal file during COMMIT, when the write lock is held. The store syncs a
        # durable commit after the write lock was released.
        connection.execute(sql.synchronous_normal)
        # A separate thread runs the checkpoints, as checkpoints.py describes. (A WAL hook of the application has
        # already replaced SQLite's automatic checkpoints.)
        if connection.wal_hook is None:
            connection.wal_autocheckpoint(0)
        # A long read makes the -wal file grow. With this limit, SQLite truncates the -wal file when SQLite next starts
        # to write that file from the beginning.
        connection.pragma("journal_size_limit", WAL_BYTES_MAX)
    except BaseException:
        connection.close(True)
        raise
    return connection


def connect_to_file_alone(path: str) -> HookedConnection:
    """Open only the database file, for reading and without locks, and ignore the content of the -wal file. (SQLite
    still manages the descriptor, so closing the connection drops no lock of other connections.)"""
    quoted = path
    for char in "%?#":
        quoted = quoted.replace(char, f"%{ord(char):02x}")
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return _counted(path, f"file:{quoted}?immutable=1", flags=flags)


def connect_without_locks(path: str) -> HookedConnection:
    """Open a database and its -wal file for reading, without locks and without a -shm file. SQLite keeps the index of
    the -wal file in memory, because the connection is in exclusive locking mode. Closing the connection drops the locks
    that this process has on the database. So use this function only if no process can create the -shm file of the
    database."""
    connection = _counted(path, path, flags=apsw.SQLITE_OPEN_READONLY, vfs="unix-none")
    connection.execute(sql.locking_mode_exclusive)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


class _Opening:
    """A placeholder that is counted while a connection is being opened."""


def _counted(path: str, name: str, **options: Any) -> HookedConnection:
    """Open a connection. Count the connection before SQLite opens the descriptor, because a different thread may be
    comparing the count with the number of descriptors."""
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
    _counting = threading.Lock()  # at the fork, a different thread of the parent may have held the old lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def descriptors_max(path: str) -> int:
    """Return how many descriptors of the file SQLite may have open for the store's connections in this process. SQLite
    keeps the descriptor of a closed connection until the last connection to the file is closed, because closing a
    descriptor would drop SQLite's locks. SQLite reuses such a descriptor instead of opening a new one."""
    return _most.get(path, 0)


def patience(seconds: float) -> Callable[[int], bool]:
    """Return a busy handler that yields the CPU twice and then sleeps for short times, for at most ``seconds`` in
    total. SQLite's own busy handler sleeps for up to 100 ms at a time, so other processes could take the lock first
    again and again. (With the C core, the connection uses the C core's busy handler instead.)"""
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
    """Switch the file to WAL mode if the file is in a different mode. If the file is new, set the store's page size
    first."""
    if connection.pragma("journal_mode") == "wal":
        return
    if connection.pragma("page_count") == 0:
        connection.pragma("page_size", PAGE_SIZE)
        connection.pragma("auto_vacuum", "incremental")  # so that prune can return space to the file system
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            mode = connection.pragma("journal_mode", "wal")
            break
        except apsw.BusyError:
            # SQLite doesn't call the busy handler for this lock if waiting could cause a deadlock.
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.002)
    if mode != "wal":
        raise StoreUnavailableError(
            f"{path}: this file system does not support the WAL mode of SQLite (journal mode stays {mode!r})"
        )
