"""Locks on single bytes of ``<store>-sessions``, and the meaning of the bytes.

The locks are open-file-description (OFD) locks, not classic POSIX locks. The kernel releases a process's classic locks
as soon as any code in the process opens and closes the file. With classic locks, a live worker would then count as
dead.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_SETLK = getattr(fcntl, "F_OFD_SETLK", None)
_GETLK = getattr(fcntl, "F_OFD_GETLK", None)
SUPPORTED = _SETLK is not None
# struct flock: type, whence, start, length, pid, with the padding that the kernel expects.
_FLOCK = struct.Struct("hhqqi4x")

# Byte 0: every open store holds a shared lock on byte 0.
PRESENCE = 0
# Bytes 1 to SESSIONS_MAX - 1: each session holds a lock on the byte with its number.
SESSIONS_MAX = 1 << 62
# The process that runs a checkpoint holds a lock on this byte.
CHECKPOINT = SESSIONS_MAX
# Every process with an open connection holds a shared lock on this byte. While any process holds this lock, a missing
# -shm is a fault.
CONNECTED = CHECKPOINT + 1
# From this byte on: one byte for each command that inherited a session. This offset contains the session's number, the
# process-id namespace (10 bits) and the command's process id (22 bits).
_COMMANDS = CHECKPOINT
_COMMAND_SESSION_BITS = 29
COMMANDS_PER_SESSION = 1 << 32
# From this byte on: one byte for each instance, at its row id. Every process that is still adding tasks to the instance
# ("feeds" the instance) holds a shared lock on the byte.
FEEDS = CHECKPOINT + (1 << 61)


def command_byte(session: int, space: int, pid: int) -> int:
    """Return the byte that is locked for a session's command. ``space``: the process-id namespace of the command."""
    return _COMMANDS + (session % (1 << _COMMAND_SESSION_BITS)) * COMMANDS_PER_SESSION + (space << 22) + pid


def _request(kind: int, start: int, length: int) -> bytes:
    try:
        return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
    except struct.error as error:
        raise OverflowError(f"byte {start} of a file") from error


def take(descriptor: int, kind: int, byte: int) -> None:
    """Lock or unlock a byte (``F_RDLCK``, ``F_WRLCK``, ``F_UNLCK``). Raise ``OSError`` if another lock conflicts."""
    if _SETLK is not None:
        fcntl.fcntl(descriptor, _SETLK, _request(kind, byte, 1))


def try_exclusive(descriptor: int, byte: int) -> bool:
    """Lock a byte exclusively; return ``False`` if a different descriptor holds a lock on the byte."""
    try:
        take(descriptor, fcntl.F_WRLCK, byte)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES
        return False
    return True


@contextmanager
def locked(descriptor: int, byte: int) -> Iterator[bool]:
    """Lock a byte exclusively within the block. Yield ``False`` if a different descriptor holds a lock on the byte."""
    free = try_exclusive(descriptor, byte)
    try:
        yield free
    finally:
        if free:
            take(descriptor, fcntl.F_UNLCK, byte)


def can_ask() -> bool:
    """Return whether this platform can report the locks of other descriptors."""
    return _GETLK is not None


def first_held(descriptor: int, start: int, length: int) -> int | None:
    """Return the first byte of a lock that a different descriptor holds within these bytes; ``None``: no such lock."""
    assert _GETLK is not None
    kind, _, byte, _, _ = _FLOCK.unpack(fcntl.fcntl(descriptor, _GETLK, _request(fcntl.F_WRLCK, start, length)))
    return None if kind == fcntl.F_UNLCK else int(byte)


def lock_holder(descriptor: int, start: int, length: int) -> int | None:
    """Return the pid of a process with a classic POSIX lock on any of these bytes.

    0: the process is in a different pid namespace. ``None``: there is no such process, or this platform doesn't report
    locks.
    """
    if _GETLK is None:
        return None
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, _GETLK, _request(fcntl.F_WRLCK, start, length)))
    return None if kind == fcntl.F_UNLCK else pid


def is_shared(descriptor: int, start: int, length: int) -> bool:
    """Return whether any process, including this process, has a classic POSIX read lock on any of these bytes."""
    if _GETLK is None:
        return False
    answer = fcntl.fcntl(descriptor, _GETLK, _request(fcntl.F_WRLCK, start, length))
    return bool(_FLOCK.unpack(answer)[0] == fcntl.F_RDLCK)
