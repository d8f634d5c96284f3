"""Making a commit survive power loss, after the write lock is free, so that many workers share one sync of the disk.

Commits run with ``synchronous=NORMAL``, which never syncs. What must last is then synced by a descriptor of our own
on the -wal: SQLite keeps no locks on that file, so opening and closing it is harmless (on the database itself or its
-shm it would drop SQLite's locks). A sync covers every commit before it, whoever made it.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading

from ..errors import StoreFullError, StoreUnavailableError
from .faults import DISK_FULL
from .opened import OpenedFiles


class WalSync:
    """Syncs one store's -wal. Of the threads that ask while a sync is under way, the next one syncs for all."""

    def __init__(self, path: str, files: OpenedFiles) -> None:
        """``files``: those of the store's connection, which have to be in their places when a sync has ended."""
        self._store = path
        self._path = f"{path}-wal"
        self._files = files
        self._descriptor = -1
        self._inode = (0, 0)
        self._lock = threading.Lock()
        self._asked = itertools.count(1)
        self._begun = 0  # the newest request when the last finished sync began: it and all before it are served
        self._newest = 0

    def sync(self) -> None:
        """Return once everything committed so far is on the disk."""
        self._newest = mine = next(self._asked)
        with self._lock:
            if self._begun >= mine:
                return
            # A request may be counted late, never early: then it syncs once more than needed.
            begun = self._newest
            self._sync_now()
            self._begun = begun

    def _sync_now(self) -> None:
        expected = self._files.wal
        try:
            # Without a connection its files may change: another process's connection is all that keeps a -wal then.
            found = expected or _identity(os.stat(self._path))
            if found != self._inode:
                self._reopen()
            _sync(self._descriptor)
            if expected is not None:
                self._files.look()
        except FileNotFoundError:
            self._drop()
            if expected is not None or not os.path.exists(self._store):
                raise self._files.lose() from None
            # The last connection was closed, which copied everything into the database and synced that.
        except OSError as error:
            self._drop()
            kind = StoreFullError if error.errno in DISK_FULL else StoreUnavailableError
            raise kind(
                f"{self._path}: committed, but could not be synced, so it may not survive power loss ({error.strerror})"
            ) from error

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
        """Let go of the descriptor, once no sync is under way; the next sync opens it anew. To be called before the
        connection is closed."""
        with self._lock:
            self._files.forget()
            self._drop()

    def _drop(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        self._inode = (0, 0)
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self._drop()


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
