"""Worker sessions: how other processes know, within milliseconds and whatever the lease, that a worker is dead.

A session is one byte of ``<store>-sessions`` that its worker keeps locked. The kernel releases the lock when the last
descriptor of it closes, however the process ends. Others ask with ``F_OFD_GETLK``, which takes no lock (0.9 µs).

OFD locks fail safe: a child process that inherits the descriptor keeps the session alive. If that happens by accident,
the claims still end with their leases. It is meant where a command inherits the descriptor and holds its task even
after the process that started it was killed. Processes that such a command leaves behind have inherited the descriptor,
too. To tell them from the command, the process that starts a command records the command's process id by one more lock
on the same descriptor: that id is gone when the command has ended.

Locks belong to the file. If somebody removes it, live processes create it again and take their locks there, within a
second of use. The new file records which sessions are older, and until their processes have had the time to take their
locks, none of them is taken for dead.

Every open store holds byte 0 shared. If the boot clock is not the file's, a lock on it shows that another container is
using the store; without one, the machine was rebooted.
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
# The file's contents. First the line of sqlite/wal/failed_sync.py; from this offset the line of sqlite/store_time.py.
_NOTE_AT, _NOTE_BYTES_MAX = 16, 200
# From this offset: the first session that can have its lock in this very file, and the store time of its creation.
_ORIGIN_AT = 256
_ORIGIN = struct.Struct("=qq")
# The time that sessions of an earlier file have to take their locks in this one.
GRACE_US = 60_000_000


def any_connected(store: str) -> bool:
    """Return whether any process is known to have a connection to the store open.

    Raises ``StoreUnavailableError`` if this process may not read the locks.
    """
    try:
        with closing(SessionFile(store, read_only=True)) as sessions:
            return can_ask() and sessions._held(CONNECTED, 1)
    except OSError as error:
        raise StoreUnavailableError(
            f"{store}-sessions: cannot be read ({error.strerror}); its locks show whether others have the store open"
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
    """The ``-sessions`` file of one open store: the store's own locks, and questions about the locks of others."""

    def __init__(self, store: str, *, read_only: bool = False) -> None:
        """``store``: the path of its file. ``read_only``: create no file and take no locks. Raises ``OSError``."""
        self._store = store
        self._read_only = read_only
        self._present = self._connected = False
        self._descriptor = -1
        self._descriptor = self._open()
        self._identity = _identity(self._descriptor)

    def in_place(self) -> bool:
        """Return whether this is still the file that other processes open."""
        try:
            status = os.stat(f"{self._store}-sessions")
        except OSError:
            return self._descriptor < 0
        return (status.st_dev, status.st_ino) == self._identity

    def reopen(self, locks: Iterable[OwnedLock]) -> None:
        """Switch to the file that is there now, created if there is none, and take all locks of this store there."""
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
        """Record that sessions from ``first`` on belong to this file, created ``now`` in store time."""
        with suppress(OSError):  # the disk is full: all sessions count as older until a later call succeeds
            os.pwrite(self._descriptor, _ORIGIN.pack(first, now), _ORIGIN_AT)

    def may_be_elsewhere(self, session: int, now: int) -> bool | None:
        """Return whether a session without a lock here may hold one in an earlier file.

        ``None``: it may have held one there, but has had the time to take one in this file.
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

        Call this only after the boot id in the file is this boot's. Otherwise stores that are opened together after a
        reboot would take each other for processes of another boot.
        """
        take(self._descriptor, fcntl.F_RDLCK, PRESENCE)
        self._present = True

    def connected(self, now: bool) -> None:
        """Show other processes that this store has its -wal and -shm open, or not any more."""
        if self._descriptor >= 0:
            take(self._descriptor, fcntl.F_RDLCK if now else fcntl.F_UNLCK, CONNECTED)
            self._connected = now

    def note(self, text: str) -> None:
        """Replace the line in the file. On a full disk this can fail without an error."""
        with suppress(OSError):
            os.pwrite(self._descriptor, f"{text}\n".encode("ascii"), _NOTE_AT)

    def noted(self) -> str:
        """Return the line in the file, or "" if there is none."""
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
        """Return the processes that keep a session alive after its own process, ``opener``, has ended.

        These are its command, and processes that the command has left behind. Empty if that is unknown.
        """
        if not self.is_alive(session) or self._descriptor < 0 or runs(opener):
            return []
        return holders(self._descriptor, session)

    def is_left_behind(self, session: int, opener: int) -> bool:
        """Return whether only processes that its command has left behind keep a session alive. In doubt, ``False``."""
        command = self._command(session)
        if command is None or runs(command):
            return False
        kept_by = self.keepers(session, opener)
        return bool(kept_by) and command not in kept_by

    def _command(self, session: int) -> int | None:
        """Return the command that the session was lent to, if it is known and in this process-id namespace."""
        if not can_ask() or self._descriptor < 0:
            return None
        start = command_byte(session, 0, 0)
        byte = first_held(self._descriptor, start, COMMANDS_PER_SESSION)
        if byte is None or (byte - start) >> 22 != namespace():
            return None
        return (byte - start) & 0x3FFFFF

    def anyone_present(self) -> bool:
        """Return whether another open store, or a session of any process, is known to hold a lock of the file."""
        return can_ask() and self._held(PRESENCE, CHECKPOINT)

    def _held(self, start: int, length: int) -> bool:
        if not can_ask():
            return True  # without these locks nobody knows, and only leases end claims
        return self._descriptor >= 0 and first_held(self._descriptor, start, length) is not None

    def checkpointing(self) -> AbstractContextManager[bool]:
        """Whether nobody else is running a checkpoint; while within, nobody else begins one."""
        return locked(self._descriptor, CHECKPOINT)

    def lock(self, session: int) -> int | None:
        """Take a session's lock on a new descriptor and return the descriptor; ``None`` if another holds the lock."""
        descriptor = self._open()
        if try_exclusive(descriptor, session):
            return descriptor
        os.close(descriptor)
        return None

    def feed(self, instance: int) -> int:
        """Mark the instance as fed, by a shared lock on a new descriptor, which is returned."""
        descriptor = self._open()
        take(descriptor, fcntl.F_RDLCK, FEEDS + instance)
        return descriptor

    def is_fed(self, instance: int) -> bool:
        """Return whether any process is known to feed the instance."""
        return can_ask() and self._held(FEEDS + instance, 1)

    def close(self) -> None:
        """Release this store's presence. May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # closed by other code in this process
                os.close(descriptor)

    __del__ = close
