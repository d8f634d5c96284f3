"""A simulated worker process: one store object on the file, which can be killed before any of its statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw

from sqlite_claims import SqliteClaimStore
from sqlite_claims.testing import ManualClock

# A session of a worker in the file's store, and the session of the same worker in the oracle.
Session = tuple[Any, Any]


class Killed(BaseException):
    """The exception that simulates a kill. This class is not an ``Exception``, so no code of the store can handle the
    exception and continue."""


class EagerStore(SqliteClaimStore):
    """A store that probes for dead workers in each search for work, and not only twice a second."""

    _probe_every_us = 0


class Process:
    """One store object on the file. All state of the object is lost when the process is killed."""

    def __init__(self, path: str, clock: ManualClock, *, use_c_core: bool) -> None:
        self.clock = clock
        self.use_c_core = use_c_core
        self.sessions: list[Session] = []
        self.start(path)

    def __repr__(self) -> str:
        return "process with the C core" if self.use_c_core else "process with the Python scan"

    def start(self, path: str) -> None:
        """Open the file again."""
        self.is_dead = False
        self.store = EagerStore(path, use_c_core=self.use_c_core, durability="process", clock=self.clock)

    def run(
        self,
        call: Callable[[Any], Any],
        *,
        statements_left: int | None = None,
        between: Callable[[], None] | None = None,
    ) -> Any:
        """Make a call on the store.

        Args: call: Function that takes the store and returns the answer. statements_left: Number of statements after
        which the process is killed (``Killed``). ``None``: never. between: Function called between two write
        transactions of the call. At this moment, other processes can write."""
        left = statements_left
        is_writing = has_written = False

        def trace(_cursor: object, statement: str, _bindings: object) -> bool:
            nonlocal left, is_writing, has_written
            if left == 0:
                self.is_dead = True
            if self.is_dead:
                raise Killed
            if left is not None:
                left -= 1
            if statement.startswith("BEGIN"):
                if has_written and between is not None:
                    between()
                is_writing = "IMMEDIATE" in statement
            elif statement.startswith("COMMIT"):
                has_written = has_written or is_writing
            return True

        connection = self.store._db.connection
        connection.exec_trace = trace
        try:
            return call(self.store)
        finally:
            connection.exec_trace = None

    def die(self) -> None:
        """Leave the file in the state in which a killed process leaves it: an open transaction is rolled back, and no
        checkpoint is made."""
        for session, _ in self.sessions:
            session.drop()
        database = self.store._db
        database.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        database._close_connection()
        database.files.drop_sessions()
        database.store_closed = True

    def exit(self) -> None:
        """Close the store in the regular way."""
        for session, _ in self.sessions:
            session.close()
        self.store.close()
