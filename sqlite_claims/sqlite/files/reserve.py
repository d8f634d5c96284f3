"""Reserved disk space. A file next to the database takes up disk space. When the disk is full, the store empties this
file.

Even to remove rows, SQLite has to write to the -wal file. SQLite can start the -wal file over only after the file's
frames are copied into the database, and this copy may enlarge the database. So, without reserved space, not even
cancelling and pruning would be possible on a full disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

SUFFIX = "-reserve"
# The minimum size of the reserve file. This is enough space to open and prune a store that was closed properly.
BYTES_MIN = 1 << 18
# If the reserve file needs more than BYTES_MIN, the file grows at most by the free disk space divided by this number.
_PART = 4
# The number of bytes that are read from the start of a file to recognize an unrelated file.
_START = 512


def keep(store: str, wanted: int = 0) -> None:
    """Extend the reserve file to ``wanted`` bytes, or to a smaller size if disk space is scarce. Never make the file
    smaller."""
    with contextlib.suppress(OSError, AttributeError):  # the disk is full, or the platform can't reserve space
        status = os.statvfs(os.path.dirname(store))
        with _opened(store, make=True) as descriptor:
            now = os.fstat(descriptor).st_size
            size = max(BYTES_MIN, min(wanted, now + status.f_bavail * status.f_frsize // _PART))
            if now < size:
                os.posix_fallocate(descriptor, now, size - now)


def keep_least(store: str) -> None:
    """Shrink the reserve file to the size that a closed store needs."""
    with contextlib.suppress(OSError), _opened(store) as descriptor:
        if os.fstat(descriptor).st_size > BYTES_MIN:
            os.ftruncate(descriptor, BYTES_MIN)
    keep(store)


def release(store: str) -> bool:
    """Release the reserved disk space. Return whether any space was reserved."""
    with contextlib.suppress(OSError), _opened(store) as descriptor:
        if os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, 0)
            return True
    return False


@contextlib.contextmanager
def _opened(store: str, *, make: bool = False) -> Iterator[int]:
    """Open the reserve file. If ``make`` is true, create a missing file. Raise ``OSError`` on failure. Also raise
    ``OSError`` if an unrelated file has the name, because an unrelated file must not be truncated."""
    path = store + SUFFIX
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    like = os.stat(store)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        if not make:
            raise
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, like.st_mode & 0o777)
        with contextlib.suppress(OSError):  # some file systems don't support permissions and owners
            os.fchmod(descriptor, like.st_mode & 0o777)
            if os.geteuid() == 0:
                os.fchown(descriptor, like.st_uid, like.st_gid)
    try:
        status = os.fstat(descriptor)
        alien = not stat.S_ISREG(status.st_mode) or status.st_nlink != 1
        if alien or os.pread(descriptor, _START, 0).strip(b"\0"):  # a reserve file contains only zero bytes
            raise FileExistsError(errno.EEXIST, "not a file of the store", path)
        yield descriptor
    finally:
        os.close(descriptor)


def has_room(store: str, size: int) -> bool:
    """Return whether there is disk space for the database to grow to this size."""
    try:
        status = os.statvfs(os.path.dirname(store))
        return size - os.stat(store).st_size <= status.f_bavail * status.f_frsize
    except OSError:
        return False
