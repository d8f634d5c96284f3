"""Checks that the database, its -wal file and its -shm file are still the files that were opened.

SQLite doesn't notice when one of these files is removed or replaced. SQLite then continues to write to the old file,
which no other process can find. The kernel shows the path of each open descriptor in /proc/self/fd, with "(deleted)" if
the file no longer has that name. ``check`` reads these paths, and does not call ``stat``. Since Linux 6.13, after a
``stat`` of a file, the kernel also writes the file's inode at the next write to the file. The next sync then takes 129
µs instead of 90 µs. The checks use only SQLite's own descriptors, because closing a different descriptor of the
database or its -shm file would drop SQLite's locks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from os import readlink

from ..errors import StoreUnavailableError
from .sessions.locks import is_shared, lock_holder
from .sessions.session_file import any_connected

_DESCRIPTORS = "/proc/self/fd"
_SUFFIXES = ("", "-wal", "-shm")
# The bytes on which SQLite holds a shared lock while SQLite has a database in WAL mode open.
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
# The offset of the two bytes in the header that show whether a database is in WAL mode.
_MODES_AT = 18
# The time for which a process that opens a store waits while other processes are closing the store.
MISSING_WAIT_S = 2.0
_CAUSES = (
    "Likely causes: another copy of SQLite in this process (the standard library's sqlite3, another driver) closed the "
    "file; or a person, a clean-up job or a backup tool deleted, moved, restored or overwrote the file, the -wal or "
    "the -shm."
)


class OpenedFiles:
    """The database, -wal and -shm files of an open connection."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: dict[str, tuple[int, int]] = {}
        self._links: dict[str, tuple[str, str]] = {}
        self._quick: tuple[tuple[str, str], ...] = ()  # each link in /proc, with the path that the link must show
        self.lost = self.database_lost = False

    def watch(self, *, all: bool = True) -> None:
        """Record the files of a connection that has just been opened. If ``all`` is true, the connection must have all
        three files."""
        self.lost = self.database_lost = False
        found = {suffix: _identity_at(self._path + suffix) for suffix in _SUFFIXES}
        opened = {suffix: identity for suffix, identity in found.items() if identity is not None}
        links = _links(opened) or {}
        if all and (len(opened) < len(_SUFFIXES) or (links and len(links) < len(opened))):
            raise self.record_loss([suffix for suffix in _SUFFIXES if suffix not in links])
        self._opened = {suffix: opened[suffix] for suffix in opened if all or suffix in links}
        self._set_links(links)

    def forget(self) -> None:
        """Stop checking the files. Call this before the connection is closed."""
        self._opened = {}
        self._set_links({})

    @property
    def wal(self) -> tuple[int, int] | None:
        """The device and inode of the -wal file; ``None`` if no connection is open."""
        return self._opened.get("-wal")

    def _set_links(self, links: dict[str, tuple[str, str]]) -> None:
        self._links = links
        self._quick = tuple(links.values()) if len(links) == len(self._opened) else ()

    def check(self) -> None:
        """Raise an error if a file has been removed or replaced, or if this process has no open descriptor of a file
        any more."""
        try:
            for link, place in self._quick:
                if readlink(link) != place:
                    break
            else:
                if self._quick:
                    return
        except OSError:
            pass
        self._check_closely()

    def _check_closely(self) -> None:
        """Check that each path still leads to the opened file. Then search again for SQLite's descriptors of these
        files, because the known descriptors may have belonged to a connection that is closed now."""
        opened = self._opened
        lost = [suffix for suffix in opened if _identity_at(self._path + suffix) != opened[suffix]]
        if lost:
            raise self.record_loss(lost)
        links = _links(opened)
        if self._quick and links is not None and len(links) < len(opened):
            raise self._closed([suffix for suffix in opened if suffix not in links])
        self._set_links(links or {})

    def record_loss(self, lost: Iterable[str] = _SUFFIXES[:2]) -> StoreUnavailableError:
        """Record that these files are lost. Return the error to raise."""
        self.lost = True
        lost = list(lost)
        self.database_lost = "" in lost
        return StoreUnavailableError(
            f"{self._names(lost)}: removed or replaced while this process had the store open{self._moved()}. Commits "
            f"of this process since then may be lost for other processes. {_CAUSES} End all processes that have the "
            "store open, then open it again"
        )

    def _closed(self, lost: list[str]) -> StoreUnavailableError:
        self.lost = True
        return StoreUnavailableError(
            f"{self._names(lost)}: closed by something else in this process (os.closerange, for example) while the "
            "store was open. Commits since then may be lost, or may have been written to a different file that got the "
            "same descriptor. The next call opens the store again"
        )

    def _names(self, suffixes: Iterable[str]) -> str:
        return " and ".join(f"{self._path}{suffix}" for suffix in suffixes)

    def _moved(self) -> str:
        """If the database was moved, return a remark with the database's present path. Otherwise return an empty
        string."""
        link, place = self._links.get("", ("", ""))
        try:
            now = readlink(link)
        except OSError:
            return ""
        return "" if now == place or now.endswith(" (deleted)") else f" (the database is {now} now)"

    def is_ours_alone(self) -> bool:
        """Return whether a connection with lost files may still copy its commits into the database. The connection may
        do so if no other process can have written to the database since the loss. That is certain if the database is in
        its place, no new files have replaced the lost files, and this process still holds its lock on the database."""
        opened = self._opened
        for suffix in opened:
            now = _identity_at(self._path + suffix)
            if now != opened[suffix] and (now is not None or suffix == ""):
                return False
        link = (_links(opened) or {}).get("", ("", ""))[0]
        if not link:
            return False
        return lock_holder(int(os.path.basename(link)), _SHARED_FIRST, _SHARED_SIZE) == os.getpid()


def _links(opened: dict[str, tuple[int, int]]) -> dict[str, tuple[str, str]] | None:
    """Return, for each of these files that is open, the entry of a descriptor in /proc and the path that the entry
    shows. Return ``None`` if the entries can't be read."""
    wanted = {identity: suffix for suffix, identity in opened.items()}
    links: dict[str, tuple[str, str]] = {}
    try:
        numbers = os.listdir(_DESCRIPTORS)
    except OSError:
        return None
    for number in numbers:
        link = f"{_DESCRIPTORS}/{number}"
        try:
            status = os.stat(link)
            suffix = wanted.get((status.st_dev, status.st_ino))
            if suffix is not None and suffix not in links:
                links[suffix] = (link, readlink(link))
        except FileNotFoundError:
            continue  # a descriptor that is closed now, for example the descriptor of the folder
        except OSError:  # a process that has given up privileges may not read the entries
            return None
    return links


def _identity_at(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def refuse_missing(path: str, wait: float, in_use: Callable[[str], bool] = any_connected) -> None:
    """Raise an error if the -wal or -shm file is missing while other processes have the store open. SQLite would create
    new files, and processes with the old files and with the new files would overwrite each other's commits. Wait up to
    ``wait`` seconds for processes that are closing or opening the store at this moment."""
    deadline = time.monotonic() + wait
    while missing := [suffix for suffix in ("-wal", "-shm") if not os.path.exists(path + suffix)]:
        if not in_use(path):
            return
        if time.monotonic() >= deadline:
            names = " and ".join(path + suffix for suffix in missing)
            raise StoreUnavailableError(
                f"{names}: gone, while other processes have the store open, so it can't be opened without damage. "
                f"{_CAUSES} End all processes that have the store open, then open it again"
            )
        time.sleep(0.01)


def descriptor_of(path: str) -> int:
    """Return SQLite's own descriptor of a file that a connection in this process has open, or -1 if there is no known
    descriptor. A new descriptor can't be used instead, because closing a new descriptor would drop SQLite's locks."""
    identity = _identity_at(path)
    links = _links({"": identity}) if identity else None
    link, _ = (links or {}).get("", ("", ""))
    return int(os.path.basename(link)) if link else -1


def is_locked(path: str) -> bool:
    """Return whether a lock of SQLite shows that a connection in any process has the file open in WAL mode. The result
    is correct even if the -wal file and the -sessions file were removed. Call this before this process's own connection
    reads anything."""
    descriptor = descriptor_of(path)
    try:
        in_wal_mode = os.pread(descriptor, 2, _MODES_AT) == b"\2\2"
        return in_wal_mode and is_shared(descriptor, _SHARED_FIRST, _SHARED_SIZE)
    except OSError:  # there is no /proc, or a different thread has closed the descriptor
        return False
