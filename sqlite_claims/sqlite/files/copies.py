"""Copies: whether a file is still the one that its own record describes, or a copy of it.

A copy made without the library (by ``cp``, ``VACUUM INTO``, a replicator, a snapshot) would give tokens that the
original gives, too. So the file records its own device, inode and time of birth, which no copy shares and which a
rename keeps. The path is no part of it: a file may be moved, and be seen under several names.
"""

from __future__ import annotations

import os
import struct
from enum import Enum, auto
from typing import NamedTuple


class Origin(Enum):
    """The origin of a file, as far as it can be determined."""

    SAME = auto()
    UNKNOWN = auto()
    """The file has no record, since an older library has created it."""
    PERHAPS_COPY = auto()
    """Another device or inode and the same birth: a snapshot of the disk, or the same file, mounted otherwise."""
    COPY = auto()
    EARLIER = auto()
    """An earlier state of the same file, written over it."""


class Identity(NamedTuple):
    """The attributes that distinguish a file from all others."""

    device: int
    inode: int
    born_ns: int
    """0 if the file system or the platform doesn't provide it."""

    def __str__(self) -> str:
        return ":".join(f"{number:x}" for number in self)


def identity_of(path: str) -> Identity:
    """The identity of the file at ``path``. Raises ``OSError``. Opens nothing: closing it would drop SQLite's locks."""
    status = os.stat(path)
    return Identity(status.st_dev, status.st_ino, _born_ns(path, status))


def split(recorded: str) -> tuple[str, Identity | None]:
    """A text, and the identity of a file that ends it; ``None`` where there is none that can be read."""
    text, _, last = recorded.rpartition(" ")
    try:
        device, inode, born_ns = (int(number, 16) for number in last.split(":"))
    except ValueError:
        return recorded, None
    return text, Identity(device, inode, born_ns)


def compare(recorded: Identity | None, now: Identity) -> Origin:
    """The origin of a file that contains this record."""
    if recorded is None:
        return Origin.UNKNOWN
    both_born = recorded.born_ns and now.born_ns
    if recorded.born_ns != now.born_ns if both_born else recorded.inode != now.inode:
        return Origin.COPY
    return Origin.SAME if recorded[:2] == now[:2] else Origin.PERHAPS_COPY


# From <linux/stat.h>: the result's size, where the time of birth stands in it, and what asks for it alone.
_STATX_BYTES, _STATX_BORN, _STATX_BTIME = 256, 80, 0x800
_AT_FDCWD = -100


def _born_ns(path: str, status: os.stat_result) -> int:
    born = getattr(status, "st_birthtime", None)  # on macOS
    if born is not None:
        return int(born * 1e9)
    try:
        import ctypes

        statx = ctypes.CDLL(None).statx
    except (ImportError, OSError, AttributeError):
        return 0
    found = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, found) != 0:
        return 0
    (told,) = struct.unpack_from("=I", found)
    seconds, nanoseconds = struct.unpack_from("=qI", found, _STATX_BORN)
    return int(seconds) * 1_000_000_000 + int(nanoseconds) if told & _STATX_BTIME else 0
