"""Durable commits: the -wal file is synced after the write lock was released, so that many workers share one sync.

Commits run with ``synchronous=NORMAL``. With this setting, SQLite never syncs a commit. The store then syncs a durable
commit through its own descriptor of the -wal file. SQLite holds no locks on the -wal file, so closing this descriptor
drops no lock. (Closing a separate descriptor of the database or of the -shm file would drop SQLite's locks.) A sync
covers all earlier commits of all processes.
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
    """Syncs the -wal file of one store. If several threads request a sync during a sync, one further sync serves all
    these threads."""

    def __init__(self, path: str, files: OpenedFiles) -> None:
        """``files``: the files of the store's connection. A sync is valid only if these files are still in place at the
        end of the sync."""
        self._store = path
        self._path = f"{path}-wal"
        self._files = files
        self._descriptor = -1
        self._inode = (0, 0)
        self.mark = UnsyncedMark(path)
        self._lock = threading.Lock()
        self._asked = itertools.count(1)
        self._begun = 0  # the number of the newest request that a finished sync covers
        self._newest = 0

    def sync(self) -> bool:
        """Wait until all earlier commits are on the disk, and return ``True``. Return ``False`` if a sync has failed in
        any process. In that case, the caller must rewrite the frames of the -wal file before it syncs again."""
        self._newest = mine = next(self._asked)
        with self._lock:
            if self._begun >= mine:
                return True
            # Read the newest request before the sync begins. A request that is made after this read needs one more
            # sync, which may be unnecessary. But no request is treated as served too early.
            begun = self._newest
            if not self._sync_now():
                return False
            self._begun = begun
        return True

    def failure(self) -> bytes:
        """Return the number of the failed sync from which the caller has to recover. Call this method before the
        recovery counts the frames of the -wal file."""
        with self._lock:
            try:
                if self._descriptor < 0:
                    self._reopen()
                # The kernel reports a failure once to each descriptor, even if the kernel has already reported the
                # failure to other processes.
                _sync(self._descriptor)
            except OSError:
                # This may be the only report of this failure. If a process is recovering from an earlier failure, that
                # process possibly doesn't write the frames of this failure again.
                self.mark.set()
            return self.mark.failure()

    def write_again(self, frames: int, failure: bytes) -> None:
        """Recover from a failed sync: write the first ``frames`` frames again, and sync the -wal file. The caller holds
        the write lock."""
        with self._lock:
            try:
                if self._descriptor < 0:
                    self._reopen()
                write_again(self._descriptor, self._path, frames)
                _sync(self._descriptor)
                self.mark.clear(failure)
            except OSError as error:
                self._drop()
                self.mark.set()  # the recovery from an earlier failure does not clear this mark
                raise self._failed(error) from error

    def copy_again(self) -> None:
        """Make the next checkpoint copy all pages again, since the failed sync may have been a sync of the database."""
        copy_again(self._store)

    def is_marked(self) -> bool:
        """Return whether there is a failed sync from which no process has recovered yet. Return ``True`` if the mark
        can't be read."""
        with self._lock:
            try:
                return self.mark.is_set()
            except OSError:
                return True

    def note(self, error: BaseException) -> None:
        """Set the mark if an exception reports that SQLite's own sync failed."""
        if getattr(error, "extendedresult", 0) in _SYNC_ERRORS:
            self.mark_failed()

    def mark_failed(self) -> None:
        """Set the mark in the present ``-sessions`` file, because a sync has failed or may have failed."""
        with self._lock:
            self.mark.close()
            self.mark.set()

    def _sync_now(self) -> bool:
        expected = self._files.wal
        try:
            # While this process has no connection, other processes may delete the -wal file and create a new -wal file.
            found = expected or _identity(os.stat(self._path))
            if found != self._inode:
                self._reopen()
            _sync(self._descriptor)
            # Check the mark only after the sync, because this sync is invalid if any process marked a failure before
            # the end of the sync.
            if self.mark.is_set():
                return False
            if expected is not None:
                self._files.check()
        except FileNotFoundError:
            self._drop()
            if expected is not None or not os.path.exists(self._store):
                raise self._files.record_loss() from None
            # The last connection was closed. SQLite then copied all frames into the database and synced the database.
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
        # The name of a new file must survive a power cut, too. (SQLite syncs the folder after the creation of a -wal
        # file, unless SQLite is configured to sync nothing.)
        folder = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._inode = _identity(os.fstat(self._descriptor))

    def close(self) -> None:
        """Wait for the end of any sync in progress, and then close the descriptor. The next sync opens the -wal file
        again. Call this method before the connection is closed."""
        with self._lock:
            self._files.forget()
            self._drop()
            self.mark.close()

    def _drop(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        self._inode = (0, 0)
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # other code in this process has closed the descriptor
                os.close(descriptor)

    def __del__(self) -> None:
        self._drop()
        self.mark.close()


def recover(wal: WalSync, connection: apsw.Connection) -> None:
    """Recover from a sync that failed in any process: write the frames of the -wal file again, and sync the -wal file.

    ``connection``: a connection to the store, with no transaction open."""
    before = -1
    while True:
        failure = wal.failure()
        connection.execute(sql.schema_version).fetchall()  # SQLite opens the -wal file at the first read
        wal.copy_again()
        frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        connection.execute(sql.begin_write)
        try:
            return wal.write_again(frames, failure)
        except StoreUnavailableError:
            if frames == before:
                raise
            before = frames  # a different process may have started the -wal file over since the count
        finally:
            connection.execute(sql.rollback)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


if sys.platform == "darwin":
    import fcntl

    def _sync(descriptor: int) -> None:
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # on macOS, fsync leaves the data in the drive's cache
elif hasattr(os, "fdatasync"):
    _sync = os.fdatasync
else:
    _sync = os.fsync
