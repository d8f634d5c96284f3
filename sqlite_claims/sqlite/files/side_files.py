"""The side files ``-sessions`` and ``-bell``. These files get the permissions and the owner of the database file.

Any user who may write to the folder can create a different file, a link or a FIFO under the name of a side file. So a
store never opens a side file through a symbolic link, and never waits for a different process while the store opens a
side file. A store uses a side file only if the file is a regular file with the expected size and owner.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat

from ...errors import StoreUnavailableError

log = logging.getLogger("sqlite_claims.storage")
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_warned: set[str] = set()  # files with a different owner for which a warning was logged


def open_beside(store: str, suffix: str, size_max: int) -> int:
    """Open a side file. Create a missing file with the permissions of the database file, independent of the umask. If
    root creates the file, give the file the owner of the database file, since other users could not open a file of
    root. Raise ``OSError`` on failure, and raise ``StoreUnavailableError`` if the file can't belong to the store."""
    path = store + suffix
    with contextlib.suppress(FileNotFoundError):
        return _opened(store, path, os.O_RDWR, size_max)
    status = os.stat(store)
    mode = status.st_mode & 0o777
    try:
        descriptor = os.open(path, os.O_RDWR | _FLAGS | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:  # another process has created the file
        return _opened(store, path, os.O_RDWR, size_max)
    with contextlib.suppress(OSError):  # some file systems don't support permissions and owners
        os.fchmod(descriptor, mode)
        if os.geteuid() == 0:
            os.fchown(descriptor, status.st_uid, status.st_gid)
    return descriptor


def open_to_read(store: str, suffix: str, size_max: int) -> int:
    """Open a side file for reading. Return -1 if the file is missing. Raise the same errors as ``open_beside``."""
    try:
        return _opened(store, store + suffix, os.O_RDONLY, size_max)
    except FileNotFoundError:
        return -1


def _opened(store: str, path: str, access: int, size_max: int) -> int:
    try:
        descriptor = os.open(path, access | _FLAGS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _refusal(path, "a symbolic link" if os.path.islink(path) else "not a regular file") from error
        raise
    try:
        _check(store, path, os.fstat(descriptor), size_max)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(store: str, path: str, status: os.stat_result, size_max: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refusal(path, "not a regular file")
    if status.st_size > size_max:
        raise _refusal(path, f"{status.st_size} bytes long, more than the maximum of {size_max}")
    owner = os.stat(store).st_uid
    if status.st_uid == owner:
        return
    if status.st_uid not in (os.geteuid(), 0):
        raise _refusal(path, f"owned by user {status.st_uid}, but the store belongs to user {owner}")
    if path not in _warned:
        _warned.add(path)
        log.warning("%s: owned by user %d, but the store belongs to user %d", path, status.st_uid, owner)


def _refusal(path: str, what: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"{path}: {what}, so it does not belong to the store; find out which program made it, and remove it"
    )
