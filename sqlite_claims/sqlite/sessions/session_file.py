"""Worker sessions: how others know, within milliseconds and whatever the lease, that a worker has died.

A session is one byte of ``<store>-sessions`` that its worker keeps locked. The kernel drops the lock when the last
descriptor of it closes, however the process ends. Others ask with ``F_OFD_GETLK``, which takes nothing (0.9 µs).

Open-file-description locks, not classic POSIX ones: those vanish when *anything* in the process opens and closes the
file, and a live worker would look dead. These err the other way: a child that keeps the descriptor keeps the session,
which is a nuisance where it happens by accident (the lease still ends) and the point where it is meant: a command that
inherits the descriptor holds its task even when the process that started it is killed. Processes that such a command
leaves behind have inherited it, too. To tell the two apart, the process that starts a command records the command's
process id by one more lock on the same descriptor: that id is gone when the command has ended.

Locks go with the file. If somebody removes it, live processes make it anew and take their locks there, within a second
of use. Until they have had time to, none of their sessions is taken for dead: the new file tells which those are.

Byte 0 is not a session's: every open store holds it shared, so that a boot clock unlike the file's is known to be
another container's while someone is there, and a reboot otherwise.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Self

from ...errors import StoreUnavailableError
from ..files.side_files import open_beside, open_to_read
from .lock_holders import holders, namespace, runs

_SETLK = getattr(fcntl, "F_OFD_SETLK", None)
_GETLK = getattr(fcntl, "F_OFD_GETLK", None)
SUPPORTED = _SETLK is not None
# struct flock: type, whence, start, length, pid; padded as the kernel reads it.
_FLOCK = struct.Struct("hhqqi4x")
# After the lines of others, see _NOTE_AT: the first session that can have its lock in this very file, and when the file
# was made, in store time.
_SIZE_MAX = 4096
_ORIGIN_AT = 256
_ORIGIN = struct.Struct("=qq")
# How long sessions of an earlier file have for taking their locks in this one.
GRACE_US = 60_000_000
_PRESENCE = 0
# Far beyond every session: the lock of the process that runs a checkpoint; and the one of each process that has a
# connection open, which makes a missing -shm a fault.
SESSIONS_MAX = _CHECKPOINT = 1 << 62
_CONNECTED = _CHECKPOINT + 1


# From here on: which command a session was lent to, by session, process-id namespace (10 bits) and process id (22).
_COMMANDS = _CHECKPOINT
_COMMAND_SESSION_BITS = 29
# From here on, at an instance's row id: the lock of a process that adds tasks to it as long as input comes. Prune
# leaves such an instance alone.
_FEEDS = _CHECKPOINT + (1 << 61)
# Offset of a line in the file, see sqlite/store_time.py; before it is that of sqlite/wal/failed_sync.py.
_NOTE_AT, _NOTE_BYTES_MAX = 16, 200


def _request(kind: int, start: int, length: int) -> bytes:
    try:
        return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
    except struct.error as error:
        raise OverflowError(f"byte {start} of a file") from error


def _take(descriptor: int, kind: int, byte: int) -> None:
    if _SETLK is not None:
        fcntl.fcntl(descriptor, _SETLK, _request(kind, byte, 1))


def _try(descriptor: int, kind: int, byte: int) -> bool:
    try:
        _take(descriptor, kind, byte)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another holds it
        return False
    return True


@contextmanager
def locked(descriptor: int, byte: int) -> Iterator[bool]:
    """Whether nobody else has a lock on this byte of the descriptor's file; while within, nobody else gets one."""
    free = _try(descriptor, fcntl.F_WRLCK, byte)
    try:
        yield free
    finally:
        if free:
            _take(descriptor, fcntl.F_UNLCK, byte)


def lock_holder(descriptor: int, start: int, length: int) -> int | None:
    """The pid of a process with a classic POSIX lock on any of these bytes of the descriptor's file (0: of another pid
    namespace). ``None``: there is none, or this platform can't tell."""
    if _GETLK is None:
        return None
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, _GETLK, _request(fcntl.F_WRLCK, start, length)))
    return None if kind == fcntl.F_UNLCK else pid


def is_shared(descriptor: int, start: int, length: int) -> bool:
    """Whether some process, this one included, has a classic POSIX lock for reading on any of these bytes."""
    if _GETLK is None:
        return False
    answer = fcntl.fcntl(descriptor, _GETLK, _request(fcntl.F_WRLCK, start, length))
    return bool(_FLOCK.unpack(answer)[0] == fcntl.F_RDLCK)


def any_connected(store: str) -> bool:
    """Whether any process is known to have a connection to the store open. ``StoreUnavailableError`` where this process
    may not ask."""
    try:
        with closing(SessionFile(store, read_only=True)) as sessions:
            return _GETLK is not None and sessions._held(_CONNECTED, 1)
    except OSError as error:
        raise StoreUnavailableError(
            f"{store}-sessions: cannot be read ({error.strerror}); its locks show whether others have the store open"
        ) from error


def _command_byte(session: int, space: int, pid: int) -> int:
    return _COMMANDS + (session % (1 << _COMMAND_SESSION_BITS) << 32) + (space << 22) + pid


def _identity(descriptor: int) -> tuple[int, int] | None:
    if descriptor < 0:
        return None
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _may_be_held(session: int) -> bool:
    """Whether the session's number is one that a process can hold the lock of."""
    return 0 < session < _CHECKPOINT


class SessionFile:
    """The ``-sessions`` file as one open store sees it: able to ask about others, and to be seen itself."""

    def __init__(self, store: str, *, read_only: bool = False) -> None:
        """``store``: the path of its file. ``read_only``: make no file, and only ask. Raises ``OSError``."""
        self._store = store
        self._read_only = read_only
        self._present = self._connected = False
        self._descriptor = -1
        self._descriptor = self._open()
        self._identity = _identity(self._descriptor)

    def in_place(self) -> bool:
        """Whether this is still the file that others open."""
        try:
            status = os.stat(f"{self._store}-sessions")
        except OSError:
            return self._descriptor < 0
        return (status.st_dev, status.st_ino) == self._identity

    def reopen(self, locks: Iterable[SqliteWorkerSession | InstanceFeed]) -> None:
        """Switch to the present file, created if there is none, and take all locks of this store there."""
        descriptor, noted = self._open(), self.noted()
        if descriptor < 0 or self._descriptor < 0:
            self.close()
            self._descriptor = descriptor
        else:
            try:
                for byte, held in ((_PRESENCE, self._present), (_CONNECTED, self._connected)):
                    if held:
                        _take(descriptor, fcntl.F_RDLCK, byte)
                for lock in list(locks):
                    lock._move(self._open())
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
        """Whether no process has recorded yet which sessions belong to this file."""
        return self._origin() is None

    def begin(self, first: int, now: int) -> None:
        """Record that sessions from ``first`` on belong to this file, created ``now`` in store time."""
        with suppress(OSError):  # no room: then all count as older until somebody finds some
            os.pwrite(self._descriptor, _ORIGIN.pack(first, now), _ORIGIN_AT)

    def may_be_elsewhere(self, session: int, now: int) -> bool | None:
        """For a session without a lock: whether it may hold one in a file that was here before. ``None``: it may, but
        has had the time to take one in this file."""
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
        """Be present from now on. Only once the boot that this store sees is the file's: else stores that are opened
        at the same moment after a reboot would take each other for another boot's."""
        _take(self._descriptor, fcntl.F_RDLCK, _PRESENCE)
        self._present = True

    def connected(self, now: bool) -> None:
        """Tell other processes that this store has its -wal and -shm open, or no longer."""
        if self._descriptor >= 0:
            _take(self._descriptor, fcntl.F_RDLCK if now else fcntl.F_UNLCK, _CONNECTED)
            self._connected = now

    def note(self, text: str) -> None:
        """Replace the line in the file. On a full disk this may not happen."""
        with suppress(OSError):
            os.pwrite(self._descriptor, f"{text}\n".encode("ascii"), _NOTE_AT)

    def noted(self) -> str:
        """The line in the file, or "" if there is none."""
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
        """Whether any process holds the session's lock."""
        return _may_be_held(session) and self._held(session, 1)

    def keepers(self, session: int, opener: int) -> list[int]:
        """The processes that keep a session alive whose own process, ``opener``, has ended: its command, and what that
        has left behind. Empty where that can't be told."""
        if not self.is_alive(session) or self._descriptor < 0 or runs(opener):
            return []
        return holders(self._descriptor, session)

    def is_left_behind(self, session: int, opener: int) -> bool:
        """Whether a session is only kept alive by processes that its command has left behind. In doubt it is not."""
        command = self._command(session)
        if command is None or runs(command):
            return False
        kept_by = self.keepers(session, opener)
        return bool(kept_by) and command not in kept_by

    def _command(self, session: int) -> int | None:
        """The command that the session was lent to, if it is known and in this process-id namespace."""
        if _GETLK is None or self._descriptor < 0:
            return None
        start = _command_byte(session, 0, 0)
        answer = fcntl.fcntl(self._descriptor, _GETLK, _request(fcntl.F_WRLCK, start, 1 << 32))
        kind, _, byte, _, _ = _FLOCK.unpack(answer)
        if kind == fcntl.F_UNLCK or (byte - start) >> 22 != namespace():
            return None
        return int(byte - start) & 0x3FFFFF

    def anyone_present(self) -> bool:
        """Whether another open store or a session of any process is known to hold a lock of the file."""
        return _GETLK is not None and self._held(_PRESENCE, _CHECKPOINT)

    def _held(self, start: int, length: int) -> bool:
        if _GETLK is None:
            return True  # Without these locks nobody can tell: leases alone end claims.
        if self._descriptor < 0:
            return False
        answer = fcntl.fcntl(self._descriptor, _GETLK, _request(fcntl.F_WRLCK, start, length))
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def checkpointing(self) -> AbstractContextManager[bool]:
        """Whether nobody else is running a checkpoint; while within, nobody else begins one."""
        return locked(self._descriptor, _CHECKPOINT)

    def lock(self, session: int) -> int | None:
        """Take a session's lock on a new descriptor and return it; the lock lives as long as the descriptor does.
        ``None`` where somebody has it."""
        descriptor = self._open()
        if _try(descriptor, fcntl.F_WRLCK, session):
            return descriptor
        os.close(descriptor)
        return None

    def feed(self, instance: int) -> int:
        """Mark the instance as fed, on a new descriptor that is returned; any number of processes may."""
        descriptor = self._open()
        _take(descriptor, fcntl.F_RDLCK, _FEEDS + instance)
        return descriptor

    def is_fed(self, instance: int) -> bool:
        """Whether any process is known to feed the instance."""
        return _GETLK is not None and self._held(_FEEDS + instance, 1)

    def close(self) -> None:
        """End this store's presence. May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # closed by something else in this process
                os.close(descriptor)

    __del__ = close


class SqliteWorkerSession:
    """The life of one worker. Claims bound to it are lost, whatever their lease, as soon as its process is gone.

    ``fileno()`` is the descriptor that keeps it alive: hand it to a child command (``pass_fds``) and the session lives
    as long as either. Closing it while it holds claims leaves them to be counted as lost: settle or release them first.
    """

    def __init__(self, id: int, worker_id: str, descriptor: int, forget: Callable[[SqliteWorkerSession], None]) -> None:
        self.id = id
        self.worker_id = worker_id
        self._descriptor = descriptor
        self._forget = forget

    @property
    def is_open(self) -> bool:
        """Whether claims can still be made with the session."""
        return self._descriptor >= 0

    def fileno(self) -> int:
        """The descriptor whose lock is this session's life; -1 once closed."""
        return self._descriptor

    def lend(self, pid: int) -> None:
        """Record that the process ``pid`` has inherited ``fileno()``. The session then ends when that process and this
        one have ended, even if others that it has left behind (a daemon, say) still hold the descriptor."""
        with suppress(OSError):  # no room for one more lock: then what is left behind keeps it
            _take(self._descriptor, fcntl.F_WRLCK, _command_byte(self.id, namespace(), pid))

    def _move(self, descriptor: int) -> None:
        """Take the lock in another file, by this descriptor, which is closed; ``fileno()`` stays."""
        if self._descriptor >= 0 and _try(descriptor, fcntl.F_WRLCK, self.id):
            os.dup2(descriptor, self._descriptor, inheritable=os.get_inheritable(self._descriptor))
        os.close(descriptor)

    def drop(self) -> None:
        """Let go of the lock and nothing else: after a fork in the child, where the parent lives on with it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # the lock is gone all the same
                os.close(descriptor)

    __del__ = drop

    def close(self) -> None:
        """End the session. May be called twice."""
        if self._descriptor >= 0:
            self.drop()
            self._forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class InstanceFeed:
    """The mark that this process adds tasks to an instance as long as input comes, so that ``prune`` leaves it alone
    even when all tasks so far have ended. It is a lock of the kernel's, gone with the process."""

    def __init__(self, instance: int, descriptor: int, forget: Callable[[InstanceFeed], None]) -> None:
        self._instance = instance
        self._descriptor = descriptor
        self._forget = forget

    def _move(self, descriptor: int) -> None:
        """Take the lock in another file, by this descriptor."""
        _take(descriptor, fcntl.F_RDLCK, _FEEDS + self._instance)
        self.drop()
        self._descriptor = descriptor

    def drop(self) -> None:
        """Let go of the lock and nothing else: after a fork in the child, where the parent lives on with it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # the lock is gone all the same
                os.close(descriptor)

    __del__ = drop

    def close(self) -> None:
        """End the mark. May be called twice."""
        if self._descriptor >= 0:
            self.drop()
            self._forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
