"""The Python baseline: two tables, and the fewest possible writes for a claim and a completion, with apsw only.

The baseline claims tasks by consecutive ids. The baseline has no checks, order, tokens, leases or names. It uses WAL,
``synchronous=NORMAL`` and pages of 2048 bytes, like a store that doesn't wait for the disk. All other settings are the
defaults of apsw and SQLite. By default, a checkpoint runs within a commit every 1,000 pages.
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
    """A file with tasks, each of which is claimed and completed once. The file is created if it doesn't exist."""

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
        """Claim a task and complete it, in two transactions."""
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
        """Claim ``count`` tasks and complete them, in two transactions."""
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
