"""Durable commits: sync the -wal after the write lock is free, so that many workers share one sync of the disk.

Commits run with ``synchronous=NORMAL``, which never syncs. A durable commit is then synced through a descriptor of our
own on the -wal. SQLite keeps no locks on that file, so opening and closing it is harmless (on the database or its -shm
it would drop SQLite's locks). A sync covers every commit before it, of any process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading

import apsw

from ...errors import BackendError, StoreFullError, StoreUnavailableError
from ..error_translation import DISK_FULL
from ..open_files import OpenedFiles
from ..statements import sql
from .failed_sync import UnsyncedMark, copy_again, write_again

_SYNC_ERRORS = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}


class WalSync:
    """Syncs one store's -wal. Of the threads that ask while a sync is under way, the next one syncs for all."""

    def __init__(self, path: str, files: OpenedFiles) -> None:
        """``files``: the files of the store's connection. They have to be in their places when a sync has ended."""
        self._store = path
        self._path = f"{path}-wal"
        self._files = files
        self._descriptor = -1
        self._inode = (0, 0)
        self.mark = UnsyncedMark(path)
        self._lock = threading.Lock()
        self._asked = itertools.count(1)
        self._begun = 0  # the newest request when the last finished sync began: it and all before it are served
        self._newest = 0

    def sync(self) -> bool:
        """Return once everything committed so far is on the disk. ``False``: some process has seen a sync fail, so that
        frames before it have to be written again first."""
        self._newest = mine = next(self._asked)
        with self._lock:
            if self._begun >= mine:
                return True
            # A request may be counted late, never early: then it syncs once more than needed.
            begun = self._newest
            if not self._sync_now():
                return False
            self._begun = begun
        return True

    def failure(self) -> bytes:
        """Return the number of the failure to recover from. Call this before counting the frames to write again."""
        with self._lock:
            try:
                if self._descriptor < 0:
                    self._reopen()
                _sync(
                    self._descriptor
                )  # reports, once to each descriptor, failures that other processes have seen before
            except OSError:
                # This may be the only report of the failure, and its frames may not be among those that another process
                # writes again to recover from an earlier failure.
                self.mark.set()
            return self.mark.failure()

    def write_again(self, frames: int, failure: bytes) -> None:
        """Recover from a failed sync: write this many frames again, and sync them. The caller holds the write lock."""
        with self._lock:
            try:
                if self._descriptor < 0:
                    self._reopen()
                write_again(self._descriptor, self._path, frames)
                _sync(self._descriptor)
                self.mark.clear(failure)
            except OSError as error:
                self._drop()
                self.mark.set()  # as a new failure, which clearing an earlier one doesn't clear
                raise self._failed(error) from error

    def copy_again(self) -> None:
        """Let the next checkpoint copy all pages, since the sync that failed may have been one of the database."""
        copy_again(self._store)

    def is_marked(self) -> bool:
        """Whether a sync has failed from which no process has recovered yet; also true if that is unknown."""
        with self._lock:
            try:
                return self.mark.is_set()
            except OSError:
                return True

    def note(self, error: BaseException) -> None:
        """Set the mark if an exception of SQLite reports that a sync of SQLite's failed."""
        if getattr(error, "extendedresult", 0) in _SYNC_ERRORS:
            self.mark_failed()

    def mark_failed(self) -> None:
        """Set the mark in the file that has the name now: a sync has failed, or may have failed."""
        with self._lock:
            self.mark.close()
            self.mark.set()

    def _sync_now(self) -> bool:
        expected = self._files.wal
        try:
            # While this process has no connection, the -wal may change: only other processes' connections keep it then.
            found = expected or _identity(os.stat(self._path))
            if found != self._inode:
                self._reopen()
            _sync(self._descriptor)
            # After the sync: a failure that was marked before it ended counts.
            if self.mark.is_set():
                return False
            if expected is not None:
                self._files.check()
        except FileNotFoundError:
            self._drop()
            if expected is not None or not os.path.exists(self._store):
                raise self._files.record_loss() from None
            # The last connection was closed, which copied everything into the database and synced that.
        except OSError as error:
            self._drop()
            if self.mark.set():
                return False
            raise self._failed(error) from error
        return True

    def _failed(self, error: OSError) -> BackendError:
        kind = StoreFullError if error.errno in DISK_FULL else StoreUnavailableError
        return kind(
            f"{self._path}: committed, but could not be synced, so it may not survive power loss ({error.strerror})"
        )

    def _reopen(self) -> None:
        self._drop()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        # A new file's name must last too. (SQLite sees to that for a -wal that it makes, unless told to sync nothing.)
        folder = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._inode = _identity(os.fstat(self._descriptor))

    def close(self) -> None:
        """Close the descriptor, once no sync is under way; the next sync opens it again. Call this before closing the
        connection."""
        with self._lock:
            self._files.forget()
            self._drop()
            self.mark.close()

    def _drop(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        self._inode = (0, 0)
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # closed by something else in this process
                os.close(descriptor)

    def __del__(self) -> None:
        self._drop()
        self.mark.close()


def recover(wal: WalSync, connection: apsw.Connection) -> None:
    """Recover from a sync that failed in any process: write the frames of the -wal again, and sync them.

    ``connection``: one of the store's, with no transaction open."""
    before = -1
    while True:
        failure = wal.failure()
        connection.execute(sql.schema_version).fetchall()  # one that has read nothing yet doesn't know its -wal
        wal.copy_again()
        frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        connection.execute(sql.begin_write)
        try:
            return wal.write_again(frames, failure)
        except StoreUnavailableError:
            if frames == before:
                raise
            before = frames  # between the two statements another process may have started the -wal over
        finally:
            connection.execute(sql.rollback)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


if sys.platform == "darwin":
    import fcntl

    def _sync(descriptor: int) -> None:
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync alone leaves it in the drive's cache there
elif hasattr(os, "fdatasync"):
    _sync = os.fdatasync
else:
    _sync = os.fsync
