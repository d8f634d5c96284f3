"""Reads of a store without its -shm file, for processes that can't create this file: on a read-only mount, in a folder
without write permission, or on a full disk.

Without the -shm file, no other process notices the reader. When the reader opens the store, no process has the store
open. But a process may open the store at any later time, for example through a different mount. So the result of a read
is used only if the files did not change during the read.
"""

from __future__ import annotations

import os

import apsw

from ..errors import StoreBusyError
from .connection import connect, connect_to_file_alone, connect_without_locks
from .files.paths import has_content
from .hooks import HookedConnection

# SQLite extends a -shm file in steps of this size. A smaller -shm file was left by a process that ran out of disk
# space.
_SHM_BYTES_MIN = 32_768


class UnsharedFiles:
    """The state of a store's files at the time when a connection without locks was opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen = self._state()

    def _state(self) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for suffix in ("", "-wal", "-shm"):
            try:
                status = os.stat(self._path + suffix)
            except OSError:
                found.append(())
            else:
                found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        return found

    def changed(self) -> bool:
        """Return whether another process has written to the files, or has the store open now."""
        return self._state() != self._seen

    def check(self) -> None:
        """Raise ``StoreBusyError`` if the files have changed. The data that was read may then mix two states of the
        files."""
        if self.changed():
            raise StoreBusyError(
                f"{self._path}: changed by another process while it was read without a lock, because this process "
                "can't create the -shm file; try again"
            )


def connect_to_read(path: str, busy_timeout: float) -> tuple[HookedConnection, UnsharedFiles | None]:
    """Open a connection that only reads. If the connection had to be opened without the -shm file, also return an
    ``UnsharedFiles``. With that object, the caller has to check the files before and after each use of the
    connection."""
    try:
        connection = connect(path, create=False, read_only=True, busy_timeout=busy_timeout)
        try:
            connection.pragma("schema_version")  # the first statement that needs the -shm file
        except BaseException:
            connection.close(True)
            raise
        return connection, None
    except (apsw.CantOpenError, apsw.IOError, apsw.ReadOnlyError, apsw.FullError):
        # A leftover -journal file contains pages that have to be written back into the database before a read.
        if _has_shm(path) or has_content(f"{path}-journal") or not os.access(path, os.R_OK):
            raise
    files = UnsharedFiles(path)
    opened = connect_without_locks(path) if has_content(f"{path}-wal") else connect_to_file_alone(path)
    return opened, files


def _has_shm(path: str) -> bool:
    try:
        return os.stat(f"{path}-shm").st_size >= _SHM_BYTES_MIN
    except OSError:
        return False
