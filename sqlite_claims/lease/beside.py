"""The files that stand beside a store's own, ``-sessions`` and ``-bell``: who may use the store may use them."""

from __future__ import annotations

import contextlib
import os


def open_beside(store: str, suffix: str) -> int:
    """Open such a file, made where it is missing, with the permissions of the store's file whatever the umask; and of
    its owner, where root makes it, who else would lock the others out. Raises ``OSError``."""
    path = store + suffix
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    status = os.stat(store)
    mode = status.st_mode & 0o777
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:  # another process was first
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # some file systems have neither
        os.fchmod(descriptor, mode)
        if os.geteuid() == 0:
            os.fchown(descriptor, status.st_uid, status.st_gid)
    return descriptor
