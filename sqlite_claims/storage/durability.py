"""Making a commit survive power loss, after the write lock is free, so that many workers share one sync of the disk.

Commits run with ``synchronous=NORMAL``, which never syncs. What must last is then synced by a descriptor of our own
on the -wal: SQLite keeps no locks on that file, so opening and closing it is harmless (on the database itself or its
-shm it would drop SQLite's locks). A sync covers every commit before it, whoever made it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading

from ..errors import StoreFullError, StoreUnavailableError
from .faults import DISK_FULL


class WalSync:
    """Syncs one store's -wal. Of the threads that ask while a sync is under way, the next one syncs for all."""

    def __init__(self, path: str) -> None:
        self._store = path
        self._path = f"{path}-wal"
        self._descriptor = -1
        self._inode = (0, 0)
        self._link = self._place = ""  # where the kernel tells the descriptor's path, and what that was
        self._expected: list[tuple[int, int]] | None = None  # the files of the open connection
        self._lock = threading.Lock()
        self._asked = itertools.count(1)
        self._begun = 0  # the newest request when the last finished sync began: it and all before it are served
        self._newest = 0

    def watch(self) -> None:
        """A connection is open now: until ``close`` its files stay the same, or somebody has removed them."""
        self._expected = [_identity(os.stat(path)) for path in (self._store, self._path)]

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
        try:
            if self._is_in_place():
                found = [_identity(os.stat(self._store)), self._inode]
            else:
                found = [_identity(os.stat(path)) for path in (self._store, self._path)]
            if found != (self._expected or found):
                raise self._lost()
            if found[1] != self._inode:
                self._reopen()
            _sync(self._descriptor)
        except FileNotFoundError:
            self._drop()
            if self._expected is not None or not os.path.exists(self._store):
                raise self._lost() from None
            # The last connection was closed, which copied everything into the database and synced that.
        except OSError as error:
            self._drop()
            kind = StoreFullError if error.errno in DISK_FULL else StoreUnavailableError
            raise kind(
                f"{self._path}: committed, but could not be synced, so it may not survive power loss ({error.strerror})"
            ) from error

    def _is_in_place(self) -> bool:
        """Whether the descriptor's file is known to bear its name still. Not by ``stat``: since Linux 6.13 a file whose
        times were asked for has its inode written with the next write, and then synced (129 µs instead of 90)."""
        try:
            return self._place != "" and os.readlink(self._link) == self._place
        except OSError:
            return False

    def _lost(self) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self._store}: removed or replaced, or its -wal was, while it was open: what was committed is in no file "
            "that anybody else will find"
        )

    def _reopen(self) -> None:
        self._drop()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        # A new file's name must last too. (SQLite sees to that for a -wal that it makes, unless told to sync nothing.)
        folder = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._inode = _identity(os.fstat(self._descriptor))
        self._link = f"/proc/self/fd/{self._descriptor}"
        with contextlib.suppress(OSError):
            place = os.readlink(self._link)
            if _identity(os.stat(place)) == self._inode:
                self._place = place

    def close(self) -> None:
        """Let go of the descriptor, once no sync is under way; the next sync opens it anew. To be called before the
        connection is closed."""
        with self._lock:
            self._expected = None
            self._drop()

    def _drop(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        self._inode = (0, 0)
        self._place = ""
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
