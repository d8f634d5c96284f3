"""Long reads. A long read reads the whole file with a separate connection, so that other threads can use the store
during the read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import apsw

from ...errors import BackendError, StoreClosedError
from .. import forks
from ..error_translation import TRANSLATED, translate
from ..read_only import UnsharedFiles, connect_to_read
from ..statements import sql

if TYPE_CHECKING:
    from ..database import Database

T = TypeVar("T")
Read = Callable[[apsw.Connection, Callable[[], None]], T]


class Stopped(Exception):
    """Raised within a long read when the read has to end because its connection can't stay open."""


class LongRead(Generic[T]):
    """One long read. ``run`` reads in the calling thread. ``stop`` ends the read from any other thread.

    No connection may be open during a fork. So a fork interrupts the read, which starts over after the fork.
    """

    def __init__(self, db: Database, read: Read[T]) -> None:
        """``read``: a function with two arguments. The first argument is the connection, in a transaction on one
        snapshot. The second argument is a function. ``read`` has to call this function every few milliseconds, and
        before ``read`` uses data from the file. ``read`` may be called more than once, and must undo its effects before
        ``read`` raises an exception."""
        self.path = db.path
        self._db = db
        self._read = read
        self._lock = threading.Lock()  # held while the connection is open
        self._thread = 0  # the thread that holds `_lock`; 0 for none
        self._forking = threading.Lock()  # held while the connection must stay closed because of a fork
        self._connection: apsw.Connection | None = None
        self._unshared: UnsharedFiles | None = None
        self._interrupted = False
        self._stopped = False

    def run(self) -> T:
        """Run the read, and return its result. Raise ``StoreClosedError`` if ``stop`` ended the read."""
        self._db.long_reads.add(self)
        forks.register(self)
        try:
            while True:
                try:
                    return self._run_once()
                except Stopped:
                    with self._forking:
                        pass
        finally:
            self._db.long_reads.discard(self)

    def _run_once(self) -> T:
        with self._lock:
            self._thread = threading.get_ident()
            try:
                forks.check(self.path)
                if self._stopped or self._db.store_closed:
                    raise StoreClosedError(f"{self.path}: the store was closed")
                self._db.check_before_connecting()
                self._connection, self._unshared = connect_to_read(self.path, self._db.busy_timeout)
                self._connection.execute(sql.begin_read)
                self._connection.execute(sql.schema_version).fetchall()  # this read takes the snapshot
                self._go_on()
                return self._read(self._connection, self._go_on)
            except TRANSLATED as error:
                if self._unshared is not None:
                    self._unshared.check()
                if isinstance(error, BackendError):
                    raise
                if isinstance(error, apsw.InterruptError) and self._interrupted:
                    raise Stopped from error
                raise translate(error, self.path) from error
            finally:
                self._thread = 0
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.close(True)

    def _go_on(self) -> None:
        if self._interrupted:
            raise Stopped
        if self._unshared is not None:
            self._unshared.check()

    def _interrupt(self) -> None:
        self._interrupted = True
        if (connection := self._connection) is not None:
            with contextlib.suppress(apsw.Error):
                connection.interrupt()

    def stop(self, *, wait: bool) -> None:
        """End the read, which then raises ``StoreClosedError``. If ``wait`` is true, return only after the read has
        ended, unless the reading thread itself calls this method."""
        self._stopped = True
        self._interrupt()
        if wait and self._thread != threading.get_ident():
            with self._lock:
                pass

    # -- forks

    def before_fork(self, wait: float) -> bool:
        self._forking.acquire()
        self._interrupt()
        closed = self._lock.acquire(timeout=wait)
        if not closed:
            self._resume()
        return closed

    def after_fork_in_parent(self) -> None:
        self._lock.release()
        self._resume()

    def _resume(self) -> None:
        self._interrupted = self._stopped
        self._forking.release()

    def after_fork_in_child(self, usable: bool) -> None:
        self._lock = threading.Lock()
        self._forking = threading.Lock()
        self._stopped = True
        if not usable and self._connection is not None:
            forks.leak(self._connection)
            self._connection = None
