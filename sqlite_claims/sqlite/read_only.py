"""Reading a store without its -shm, if this process can't create one: on a read-only mount, in a folder that it may
not write to, or on a full disk.

Without the -shm no other process sees the reader. No process has the store open then, but one may open it at any time,
for example through another mount. So the result of a read is used only if the files did not change meanwhile.
"""

from __future__ import annotations

import os

import apsw

from ..errors import StoreBusyError
from .connection import connect, connect_to_file_alone, connect_without_locks
from .files.paths import has_content
from .hooks import HookedConnection

# SQLite extends a -shm by pieces of this size. A smaller one was left by a process that found no room for it.
_SHM_BYTES_MIN = 32_768


class UnsharedFiles:
    """The files of a connection without locks, as they were when it was opened."""

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
        """Whether another process has written to the files, or has the store open now."""
        return self._state() != self._seen

    def check(self) -> None:
        """Raise if the data read may be partly from one state of the files and partly from another."""
        if self.changed():
            raise StoreBusyError(
                f"{self._path}: changed by another process while it was read without a lock, since this process can't "
                "make its -shm; try again"
            )


def connect_to_read(path: str, busy_timeout: float) -> tuple[HookedConnection, UnsharedFiles | None]:
    """Open a connection that only reads. If that is possible only without the -shm, also return the files, which have
    to be checked before and after each use."""
    try:
        connection = connect(path, create=False, read_only=True, busy_timeout=busy_timeout)
        try:
            connection.pragma("schema_version")  # the first thing that needs the -shm
        except BaseException:
            connection.close(True)
            raise
        return connection, None
    except (apsw.CantOpenError, apsw.IOError, apsw.ReadOnlyError, apsw.FullError):
        # A -journal that is left holds what has to go back into the file before it can be read.
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
