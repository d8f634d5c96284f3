"""Locks on single bytes of ``<store>-sessions``, and the meaning of the bytes.

These are open-file-description (OFD) locks, not classic POSIX ones. Classic locks vanish when anything in the process
opens and closes the file, and a live worker would look dead.
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
# struct flock: type, whence, start, length, pid; padded as the kernel reads it.
_FLOCK = struct.Struct("hhqqi4x")

# Byte 0: every open store holds it shared.
PRESENCE = 0
# Bytes 1 to SESSIONS_MAX - 1: the session of that number.
SESSIONS_MAX = 1 << 62
# The process that runs a checkpoint.
CHECKPOINT = SESSIONS_MAX
# Every process that has a connection open, shared. While it is held, a missing -shm is a fault.
CONNECTED = CHECKPOINT + 1
# From here on: the command to which a session was lent, by session, process-id namespace (10 bits) and process id (22).
_COMMANDS = CHECKPOINT
_COMMAND_SESSION_BITS = 29
COMMANDS_PER_SESSION = 1 << 32
# From here on, at an instance's row id: every process that feeds the instance, shared.
FEEDS = CHECKPOINT + (1 << 61)


def command_byte(session: int, space: int, pid: int) -> int:
    """Return the byte that a session's command holds. ``space``: its process-id namespace."""
    return _COMMANDS + (session % (1 << _COMMAND_SESSION_BITS)) * COMMANDS_PER_SESSION + (space << 22) + pid


def _request(kind: int, start: int, length: int) -> bytes:
    try:
        return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
    except struct.error as error:
        raise OverflowError(f"byte {start} of a file") from error


def take(descriptor: int, kind: int, byte: int) -> None:
    """Lock a byte (``F_RDLCK``, ``F_WRLCK``) or unlock it (``F_UNLCK``). Raises ``OSError`` if another holds it."""
    if _SETLK is not None:
        fcntl.fcntl(descriptor, _SETLK, _request(kind, byte, 1))


def try_exclusive(descriptor: int, byte: int) -> bool:
    """Lock a byte exclusively; return ``False`` if another holds it."""
    try:
        take(descriptor, fcntl.F_WRLCK, byte)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES
        return False
    return True


@contextmanager
def locked(descriptor: int, byte: int) -> Iterator[bool]:
    """Lock a byte exclusively within the block. Yields ``False``, without a lock, if another holds it."""
    free = try_exclusive(descriptor, byte)
    try:
        yield free
    finally:
        if free:
            take(descriptor, fcntl.F_UNLCK, byte)


def can_ask() -> bool:
    """Return whether this platform can report the locks of others."""
    return _GETLK is not None


def first_held(descriptor: int, start: int, length: int) -> int | None:
    """Return the first byte of a lock that another holds on any of these bytes; ``None``: there is none."""
    assert _GETLK is not None
    kind, _, byte, _, _ = _FLOCK.unpack(fcntl.fcntl(descriptor, _GETLK, _request(fcntl.F_WRLCK, start, length)))
    return None if kind == fcntl.F_UNLCK else int(byte)


def lock_holder(descriptor: int, start: int, length: int) -> int | None:
    """Return the pid of a process with a classic POSIX lock on any of these bytes; 0: in another pid namespace.

    ``None``: there is none, or this platform doesn't report it.
    """
    if _GETLK is None:
        return None
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, _GETLK, _request(fcntl.F_WRLCK, start, length)))
    return None if kind == fcntl.F_UNLCK else pid


def is_shared(descriptor: int, start: int, length: int) -> bool:
    """Return whether any process, this one included, has a classic POSIX read lock on any of these bytes."""
    if _GETLK is None:
        return False
    answer = fcntl.fcntl(descriptor, _GETLK, _request(fcntl.F_WRLCK, start, length))
    return bool(_FLOCK.unpack(answer)[0] == fcntl.F_RDLCK)
