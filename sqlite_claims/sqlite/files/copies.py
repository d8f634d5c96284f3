"""Recognition of copied files. A store contains the identity of its file. This module compares the stored identity with
the present identity of the file.

A copy that was made without the library (by ``cp``, ``VACUUM INTO``, a replicator, or a snapshot) would issue the same
tokens as the original. So a store records the device, the inode and the time of birth of its file. A copy has different
values, while a rename keeps the values. The store doesn't record the path, because a file may be moved, and may have
several names.
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
    """The file contains no identity, since an older version of the library has created the file."""
    PERHAPS_COPY = auto()
    """The device or the inode differs, but the time of birth is the same. The file is in a snapshot of the disk, or is
    the same file on a different mount."""
    COPY = auto()
    EARLIER = auto()
    """The same file, but overwritten with an earlier state of the file's content."""


class Identity(NamedTuple):
    """The attributes that distinguish a file from all other files."""

    device: int
    inode: int
    born_ns: int
    """The time of birth in nanoseconds; 0 if the file system or the platform doesn't provide the time of birth."""

    def __str__(self) -> str:
        return ":".join(f"{number:x}" for number in self)


def identity_of(path: str) -> Identity:
    """Return the identity of the file at ``path``. Raise ``OSError`` on failure. The function doesn't open the file,
    because closing the file again would drop SQLite's locks."""
    status = os.stat(path)
    return Identity(status.st_dev, status.st_ino, _born_ns(path, status))


def split(recorded: str) -> tuple[str, Identity | None]:
    """Split a recorded value into two parts: a text, and the identity of a file at the end of the value. The identity
    is ``None`` if the value doesn't end with a readable identity."""
    text, _, last = recorded.rpartition(" ")
    try:
        device, inode, born_ns = (int(number, 16) for number in last.split(":"))
    except ValueError:
        return recorded, None
    return text, Identity(device, inode, born_ns)


def compare(recorded: Identity | None, now: Identity) -> Origin:
    """Return the origin of a file. ``now``: the present identity of the file. ``recorded``: the identity that the file
    contains."""
    if recorded is None:
        return Origin.UNKNOWN
    both_born = recorded.born_ns and now.born_ns
    if recorded.born_ns != now.born_ns if both_born else recorded.inode != now.inode:
        return Origin.COPY
    return Origin.SAME if recorded[:2] == now[:2] else Origin.PERHAPS_COPY


# From <linux/stat.h>: the size of the result, the offset of the time of birth in the result, and the flag that requests
# only the time of birth.
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
