"""Worker sessions, by which other processes detect a dead worker within milliseconds, before the worker's leases end.

A worker's session is a lock on one byte of ``<store>-sessions``. The kernel releases the lock when the last descriptor
with the lock is closed, even if the process is killed. Other processes check the lock with ``F_OFD_GETLK``, which takes
no lock itself (0.9 µs).

A child process that inherits the descriptor keeps the session alive. If a child inherits the descriptor by accident,
the claims still end with their leases. A worker passes the descriptor to a command on purpose, so that the command
keeps its task even after the worker is killed. The command's descendants inherit the descriptor, too, and can outlive
the command. So the process that starts the command records the command's process id by a second lock on the same
descriptor. Once no process with this id is running, the command has ended.

Locks belong to the file. If the file is removed, live processes create a new file and take their locks there, within a
second of using the store. The new file records which sessions are older than the file. For ``GRACE_US``, in which the
processes of these sessions can take their locks in the new file, none of these sessions counts as dead.

Every open store holds a shared lock on byte 0. If the current boot id differs from the boot id in the database, a lock
on byte 0 shows that a different container is using the store. If no process holds such a lock, the machine was
rebooted.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable
from contextlib import AbstractContextManager, closing, suppress

from ...errors import StoreUnavailableError
from ..files.side_files import open_beside, open_to_read
from .lock_holders import holders, namespace, runs
from .locks import (
    CHECKPOINT,
    COMMANDS_PER_SESSION,
    CONNECTED,
    FEEDS,
    PRESENCE,
    can_ask,
    command_byte,
    first_held,
    locked,
    take,
    try_exclusive,
)
from .owned_locks import OwnedLock

_SIZE_MAX = 4096
# The offset and the largest length of the line that sqlite/store_time.py writes to the file. The bytes before the
# offset are used by sqlite/wal/failed_sync.py.
_NOTE_AT, _NOTE_BYTES_MAX = 16, 200
# The offset of two numbers: the first session that took its lock in this file from the beginning, and the store time at
# which this file was created.
_ORIGIN_AT = 256
_ORIGIN = struct.Struct("=qq")
# The time in which sessions that were opened with an earlier file have to take their locks in this file.
GRACE_US = 60_000_000


def any_connected(store: str) -> bool:
    """Return whether any process is known to have an open connection to the store.

    Raise ``StoreUnavailableError`` if this process is not allowed to read the locks.
    """
    try:
        with closing(SessionFile(store, read_only=True)) as sessions:
            return can_ask() and sessions._held(CONNECTED, 1)
    except OSError as error:
        raise StoreUnavailableError(
            f"{store}-sessions: cannot be read ({error.strerror}); its locks show whether other processes use the store"
        ) from error


def _identity(descriptor: int) -> tuple[int, int] | None:
    if descriptor < 0:
        return None
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _may_be_held(session: int) -> bool:
    """Return whether a process can hold the lock of a session with this number."""
    return 0 < session < CHECKPOINT


class SessionFile:
    """The ``-sessions`` file of one open store: takes the store's own locks and checks the locks of other processes."""

    def __init__(self, store: str, *, read_only: bool = False) -> None:
        """``store``: the path of the store's file. ``read_only``: create no file, take no locks. Raises ``OSError``."""
        self._store = store
        self._read_only = read_only
        self._present = self._connected = False
        self._descriptor = -1
        self._descriptor = self._open()
        self._identity = _identity(self._descriptor)

    def in_place(self) -> bool:
        """Return whether the file at the store's path is still the file that this object has open."""
        try:
            status = os.stat(f"{self._store}-sessions")
        except OSError:
            return self._descriptor < 0
        return (status.st_dev, status.st_ino) == self._identity

    def reopen(self, locks: Iterable[OwnedLock]) -> None:
        """Open the file that is now at the path, or create a file there, and take all locks of this store in this
        file."""
        descriptor, noted = self._open(), self.noted()
        if descriptor < 0 or self._descriptor < 0:
            self.close()
            self._descriptor = descriptor
        else:
            try:
                for byte, held in ((PRESENCE, self._present), (CONNECTED, self._connected)):
                    if held:
                        take(descriptor, fcntl.F_RDLCK, byte)
                for lock in list(locks):
                    lock.move(self._open())
                os.dup2(descriptor, self._descriptor, inheritable=False)
            finally:
                os.close(descriptor)
            if noted and not self.noted():
                self.note(noted)
        self._identity = _identity(self._descriptor)

    def _origin(self) -> tuple[int, int] | None:
        if self._descriptor < 0:
            return None
        data = os.pread(self._descriptor, _ORIGIN.size, _ORIGIN_AT)
        return _ORIGIN.unpack(data) if len(data) == _ORIGIN.size else None

    def is_new(self) -> bool:
        """Return whether no process has recorded yet which sessions belong to this file."""
        return self._origin() is None

    def begin(self, first: int, now: int) -> None:
        """Record that sessions from ``first`` on belong to this file, which was created at ``now`` (store time)."""
        with suppress(OSError):  # until the new file has this record, all sessions count as older than the file
            os.pwrite(self._descriptor, _ORIGIN.pack(first, now), _ORIGIN_AT)

    def may_be_elsewhere(self, session: int, now: int) -> bool | None:
        """Return whether a session without a lock in this file may hold a lock in an earlier file.

        ``None``: the session may have held a lock in an earlier file, but its process has had enough time to take a
        lock in this file.
        """
        if not _may_be_held(session):
            return False
        origin = self._origin()
        if origin is None:
            return True
        first, made = origin
        if session >= first:
            return False
        return True if 0 <= now - made < GRACE_US else None

    def arrive(self) -> None:
        """Take the presence lock.

        Call this only after the boot id of the current boot is stored in the database file. Otherwise processes that
        open the store at the same time after a reboot would each treat the lock of the other process as a lock of a
        different container.
        """
        take(self._descriptor, fcntl.F_RDLCK, PRESENCE)
        self._present = True

    def connected(self, now: bool) -> None:
        """Lock or unlock the byte that shows other processes whether this store has its -wal and -shm open."""
        if self._descriptor >= 0:
            take(self._descriptor, fcntl.F_RDLCK if now else fcntl.F_UNLCK, CONNECTED)
            self._connected = now

    def note(self, text: str) -> None:
        """Replace the line of sqlite/store_time.py in the file. On a full disk this can fail without an error."""
        with suppress(OSError):
            os.pwrite(self._descriptor, f"{text}\n".encode("ascii"), _NOTE_AT)

    def noted(self) -> str:
        """Return the line of sqlite/store_time.py, or "" if the file has none."""
        try:
            line = os.pread(self._descriptor, _NOTE_BYTES_MAX, _NOTE_AT).partition(b"\n")[0]
        except OSError:
            return ""
        return line.strip(b"\0").decode("ascii", "replace")

    def _open(self) -> int:
        if not self._read_only:
            return open_beside(self._store, "-sessions", _SIZE_MAX)
        return open_to_read(self._store, "-sessions", _SIZE_MAX)

    def is_alive(self, session: int) -> bool:
        """Return whether any process holds the session's lock."""
        return _may_be_held(session) and self._held(session, 1)

    def keepers(self, session: int, opener: int) -> list[int]:
        """Return the processes that keep a session alive after ``opener``, the process that opened the session, has
        ended.

        These processes are the session's command and the command's descendants. The list is empty if these processes
        are unknown.
        """
        if not self.is_alive(session) or self._descriptor < 0 or runs(opener):
            return []
        return holders(self._descriptor, session)

    def is_left_behind(self, session: int, opener: int) -> bool:
        """Return whether only descendants of an ended command keep a session alive; ``False`` if this is unknown."""
        command = self._command(session)
        if command is None or runs(command):
            return False
        kept_by = self.keepers(session, opener)
        return bool(kept_by) and command not in kept_by

    def _command(self, session: int) -> int | None:
        """Return the pid of the command that inherited the session, if known and in this process-id namespace."""
        if not can_ask() or self._descriptor < 0:
            return None
        start = command_byte(session, 0, 0)
        byte = first_held(self._descriptor, start, COMMANDS_PER_SESSION)
        if byte is None or (byte - start) >> 22 != namespace():
            return None
        return (byte - start) & 0x3FFFFF

    def anyone_present(self) -> bool:
        """Return whether a different open store, or a session of any process, is known to hold a lock on the file."""
        return can_ask() and self._held(PRESENCE, CHECKPOINT)

    def _held(self, start: int, length: int) -> bool:
        if not can_ask():
            return True  # without these locks, a dead process can't be detected, and claims end only with their leases
        return self._descriptor >= 0 and first_held(self._descriptor, start, length) is not None

    def checkpointing(self) -> AbstractContextManager[bool]:
        """Take the checkpoint lock within the block. Yield ``False`` if a different process is running a checkpoint."""
        return locked(self._descriptor, CHECKPOINT)

    def lock(self, session: int) -> int | None:
        """Take a session's lock on a new descriptor, and return the descriptor; ``None`` if a different descriptor
        holds the lock."""
        descriptor = self._open()
        if try_exclusive(descriptor, session):
            return descriptor
        os.close(descriptor)
        return None

    def feed(self, instance: int) -> int:
        """Take a shared lock that marks the instance as fed, on a new descriptor; return the descriptor."""
        descriptor = self._open()
        take(descriptor, fcntl.F_RDLCK, FEEDS + instance)
        return descriptor

    def is_fed(self, instance: int) -> bool:
        """Return whether any process is known to be adding tasks to the instance."""
        return can_ask() and self._held(FEEDS + instance, 1)

    def close(self) -> None:
        """Release the locks of this store. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # other code in this process has closed the descriptor
                os.close(descriptor)

    __del__ = close
