"""The baseline: a program that adds, claims and ends tasks in an SQLite file at the least possible cost. The program
knows in advance which task comes next, checks nothing, and has no order, no tokens and no leases. ``sqlite-claims
bench`` compares a store with this baseline.

The SQL is in this file because the SQL doesn't belong to a store. WAL mode, ``synchronous=NORMAL`` and the page size
are the same as in a store. All other settings are SQLite's defaults. For example, SQLite runs a checkpoint within a
commit every 1,000 pages.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import apsw

from ..connection import PAGE_SIZE

SQLITE_VERSION: str = apsw.sqlite_lib_version()

_SCHEMA = """
CREATE TABLE task (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, worker TEXT);
CREATE TABLE claim (task INTEGER PRIMARY KEY, worker TEXT NOT NULL, expires INTEGER NOT NULL);
CREATE TABLE named (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, input BLOB);
"""
_ADD = "INSERT INTO task (state) VALUES (0)"
_INSERT = "INSERT INTO named (name, input) VALUES (?, ?)"
_TAKE = "UPDATE task SET state = 1, worker = ? WHERE id = ?"
_HOLD = "INSERT INTO claim (task, worker, expires) VALUES (?, ?, ?)"
_END = "UPDATE task SET state = 2 WHERE id = ?"
_LET_GO = "DELETE FROM claim WHERE task = ?"
_EXPIRES = 2_000_000_000_000_000


class BareLoop:
    """A file with tasks. Each task is claimed once and ended once, in the order in which the tasks were added."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._connection = apsw.Connection(os.fspath(path))
        self._connection.pragma("page_size", PAGE_SIZE)
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "NORMAL")
        self._connection.execute(_SCHEMA)
        self._next = 1
        self._added = 0

    @property
    def left(self) -> int:
        """The number of tasks that are not claimed yet."""
        return self._added + 1 - self._next

    def add(self, count: int) -> None:
        """Add ``count`` tasks in one transaction."""
        with self._connection:
            self._connection.executemany(_ADD, ((),) * count)
        self._added += count

    def insert(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Add tasks in one transaction, with only their names and inputs."""
        with self._connection:
            self._connection.executemany(_INSERT, rows)

    def cycle(self) -> None:
        """Claim a task, and end the task, in two transactions."""
        execute, id = self._connection.execute, self._next
        execute("BEGIN IMMEDIATE")
        execute(_TAKE, ("worker", id))
        execute(_HOLD, (id, "worker", _EXPIRES))
        execute("COMMIT")
        execute("BEGIN IMMEDIATE")
        execute(_END, (id,))
        execute(_LET_GO, (id,))
        execute("COMMIT")
        self._next += 1

    def batch(self, count: int) -> None:
        """Claim ``count`` tasks, and end these tasks, in two transactions."""
        execute, executemany = self._connection.execute, self._connection.executemany
        ids = range(self._next, self._next + count)
        execute("BEGIN IMMEDIATE")
        executemany(_TAKE, [("worker", id) for id in ids])
        executemany(_HOLD, [(id, "worker", _EXPIRES) for id in ids])
        execute("COMMIT")
        execute("BEGIN IMMEDIATE")
        executemany(_END, [(id,) for id in ids])
        executemany(_LET_GO, [(id,) for id in ids])
        execute("COMMIT")
        self._next += count

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
