"""Checks of a store's path, before SQLite opens the file. No function of this module opens a file of the store."""

from __future__ import annotations

import os
import stat
import sys

from ...errors import StoreUnavailableError

_MOUNTS = "/proc/self/mountinfo"
# The suffixes of the names of a store's files. All these names belong to the store, even if the files don't exist.
SUFFIXES = ("", "-wal", "-shm", "-journal", "-sessions", "-bell", "-reserve")
# Network file systems. Locks and shared memory don't work across machines. SQLite would seem to work on such a file
# system, but would lose data.
_NETWORK = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.ceph-fuse",
        "fuse.curlftpfs",
        "fuse.davfs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
    ]
)


def check_place(path: str, *, create: bool) -> bool:
    """Raise an error if no store can be at this path. Return whether the file exists."""
    if sys.platform == "win32":
        raise StoreUnavailableError("sqlite_claims does not run on Windows: it needs locks that the kernel drops")
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise StoreUnavailableError(f"{path}: there is no folder {folder}")
    try:
        status = os.stat(path)
    except FileNotFoundError:
        status = None
    except OSError as error:
        raise StoreUnavailableError(f"{path}: cannot be opened ({error.strerror})") from error
    if status is None and not create:
        raise StoreUnavailableError(f"{path}: file not found (create=True creates it)")
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise StoreUnavailableError(f"{path}: not a regular file")
    mounted = _mounted(_MOUNTS)
    if any(path == point for point, _ in mounted):  # on some platforms, the list of mounts is empty
        raise StoreUnavailableError(
            f"{path}: mounted as a single file, without its -wal, so other processes would "
            "not see the -wal; mount the folder of the file"
        )
    _check_names(path)
    kind = _file_system(folder, mounted)
    if kind in _NETWORK:
        raise StoreUnavailableError(
            f"{path}: on a network file system ({kind}), where SQLite's locks can't be relied on; use a local disk"
        )
    return status is not None


def _check_names(path: str) -> None:
    """Raise an error if the name of one of the store's side files belongs to an object that is not a regular file.
    SQLite would write through a symbolic link, and would wait for ever until a process opens the other end of a
    FIFO."""
    for suffix in ("-wal", "-shm", "-journal", "-sessions", "-bell"):
        try:
            mode = os.lstat(path + suffix).st_mode
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            what = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
            raise StoreUnavailableError(
                f"{path}{suffix}: {what}, so it does not belong to the store; find out which "
                "program made it, and remove it"
            )


def has_content(path: str) -> bool:
    """Return whether the file exists and is not empty."""
    try:
        return os.stat(path).st_size > 0
    except OSError:
        return False


def is_full(path: str) -> bool:
    """Return whether the file system of the file has no free space left, or has no room for one more file."""
    try:
        status = os.statvfs(os.path.dirname(path))
    except OSError:
        return False
    return status.f_bavail == 0 or (status.f_files > 0 and status.f_favail == 0)


def may_write(path: str) -> bool:
    """Return whether this process may write to the file, and may create other files in the same folder."""
    return os.access(path, os.R_OK | os.W_OK) and os.access(os.path.dirname(path), os.W_OK | os.X_OK)


def file_system(folder: str, mounts: str = _MOUNTS) -> str:
    """Return the type of the file system that holds ``folder``, or ``""`` if the platform doesn't report the type."""
    return _file_system(folder, _mounted(mounts))


def _file_system(folder: str, mounted: list[tuple[str, str]]) -> str:
    best, kind = "", ""
    for point, its_kind in mounted:
        inside = folder == point or folder.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, its_kind
    return kind


def _mounted(mounts: str) -> list[tuple[str, str]]:
    """Return the mount points and the types of their file systems, in the order of mounting."""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return []
    found = []
    for line in lines:
        # 36 35 98:0 /root /mount/point options - type source options
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) >= 5 and right.strip():
            found.append((_unescape(fields[4]), right.split()[0]))
    return found


def _unescape(point: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, char)
    return point
