"""The yardstick in Python: two tables, and the least writes that a claim and its end could be, by apsw alone.

It knows which task comes next, checks nothing and keeps no order, no tokens, no leases and no names. Two settings are
those of a store that need not wait for the disk (WAL, ``synchronous=NORMAL``, pages of 2048 bytes); all others are what
apsw and SQLite do by themselves, a checkpoint within a commit every 1,000 pages among them.
"""

from __future__ import annotations

from pathlib import Path

import apsw

_SCHEMA = """
CREATE TABLE task (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, worker TEXT);
CREATE TABLE claim (task INTEGER PRIMARY KEY, worker TEXT NOT NULL, expires INTEGER NOT NULL);
"""
_TAKE = "UPDATE task SET state = 1, worker = ? WHERE id = ?"
_HOLD = "INSERT INTO claim (task, worker, expires) VALUES (?, ?, ?)"
_END = "UPDATE task SET state = 2 WHERE id = ?"
_LET_GO = "DELETE FROM claim WHERE task = ?"
_ADD = "INSERT INTO task (id, state) VALUES (?, 0)"
_EXPIRES = 2_000_000_000_000_000


class BareLoop:
    """A file with tasks, each to be taken and ended once. It is made where there is none."""

    def __init__(self, path: Path, tasks: int) -> None:
        new = not path.exists()
        self._connection = apsw.Connection(str(path))
        self._connection.pragma("page_size", 2048)
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "NORMAL")
        self._next = 1
        if not new:
            return
        self._connection.execute(_SCHEMA)
        with self._connection:
            self._connection.executemany(_ADD, ((id,) for id in range(1, tasks + 1)))

    def cycle(self) -> None:
        """Take a task, and end it: two transactions."""
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
        """The same for so many tasks in two transactions."""
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
