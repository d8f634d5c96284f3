"""Open files: whether the database, its -wal and its -shm are still the files that were opened.

SQLite doesn't notice when they are removed or replaced: it goes on writing to files that no other process will find.
The kernel shows the path of each open descriptor in /proc/self/fd, with "(deleted)" once the file has lost that name.
``check`` reads that, and does not call ``stat``: since Linux 6.13 the inode of a file whose times were read is written
with the next write, and then synced (129 µs instead of 90). Only SQLite's own descriptors are used: closing another one
of the database or its -shm would drop SQLite's locks.
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
# SQLite's lock on a database that it has open, by its file format.
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
# The two bytes of the file's header that show whether it is in WAL mode.
_MODES_AT = 18
# How long opening a store waits for other processes that are just closing it.
MISSING_WAIT_S = 2.0
_CAUSES = (
    "Likely causes: another copy of SQLite in this process (the standard library's sqlite3, another driver) closed the "
    "file; or it, its -wal or its -shm was deleted, moved, restored or copied over by hand, by a clean-up or by a "
    "backup tool."
)


class OpenedFiles:
    """The files of an open connection."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: dict[str, tuple[int, int]] = {}
        self._links: dict[str, tuple[str, str]] = {}
        self._quick: tuple[tuple[str, str], ...] = ()  # links to read, and what they were
        self.lost = self.database_lost = False

    def watch(self, *, all: bool = True) -> None:
        """Note the files of a connection that has just been opened. ``all``: the connection has all three of them."""
        self.lost = self.database_lost = False
        found = {suffix: _identity_at(self._path + suffix) for suffix in _SUFFIXES}
        opened = {suffix: identity for suffix, identity in found.items() if identity is not None}
        links = _links(opened) or {}
        if all and (len(opened) < len(_SUFFIXES) or (links and len(links) < len(opened))):
            raise self.record_loss([suffix for suffix in _SUFFIXES if suffix not in links])
        self._opened = {suffix: opened[suffix] for suffix in opened if all or suffix in links}
        self._set_links(links)

    def forget(self) -> None:
        """Stop checking, before the connection is closed."""
        self._opened = {}
        self._set_links({})

    @property
    def wal(self) -> tuple[int, int] | None:
        """The identity of the -wal, while a connection is open."""
        return self._opened.get("-wal")

    def _set_links(self, links: dict[str, tuple[str, str]]) -> None:
        self._links = links
        self._quick = tuple(links.values()) if len(links) == len(self._opened) else ()

    def check(self) -> None:
        """Raise if a file has been removed or replaced, or no descriptor of it is open any more."""
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
        """Compare the files by name, and find their descriptors again: the earlier ones may have been another
        connection's."""
        opened = self._opened
        lost = [suffix for suffix in opened if _identity_at(self._path + suffix) != opened[suffix]]
        if lost:
            raise self.record_loss(lost)
        links = _links(opened)
        if self._quick and links is not None and len(links) < len(opened):
            raise self._closed([suffix for suffix in opened if suffix not in links])
        self._set_links(links or {})

    def record_loss(self, lost: Iterable[str] = _SUFFIXES[:2]) -> StoreUnavailableError:
        """Record that these files are lost. Returns the error to raise."""
        self.lost = True
        lost = list(lost)
        self.database_lost = "" in lost
        return StoreUnavailableError(
            f"{self._names(lost)}: removed or replaced while this process had the store open{self._moved()}, so its "
            f"commits since then may be in no file that other processes can find. {_CAUSES} End all processes that "
            "have the store open, then open it again"
        )

    def _closed(self, lost: list[str]) -> StoreUnavailableError:
        self.lost = True
        return StoreUnavailableError(
            f"{self._names(lost)}: closed by something else in this process (os.closerange, for example) while it had "
            "the store open, so what it committed since may be in no file, or in one that was opened in its place; the "
            "next call opens the store again"
        )

    def _names(self, suffixes: Iterable[str]) -> str:
        return " and ".join(f"{self._path}{suffix}" for suffix in suffixes)

    def _moved(self) -> str:
        """The database's present path, if it was moved."""
        link, place = self._links.get("", ("", ""))
        try:
            now = readlink(link)
        except OSError:
            return ""
        return "" if now == place or now.endswith(" (deleted)") else f" (the database is {now} now)"

    def is_ours_alone(self) -> bool:
        """Whether a connection with lost files may still copy its commits into the database. It may if no other process
        can have written there since: the database is in its place, no file has replaced the lost ones, and this process
        still has its lock."""
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
    """Return a descriptor of each of these files: its entry in /proc and the path that the entry shows. ``None`` if
    that is unknown."""
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
            continue  # closed meanwhile, for example the descriptor of the listing itself
        except OSError:  # a process that has given up privileges may not read these
            return None
    return links


def _identity_at(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def refuse_missing(path: str, wait: float, in_use: Callable[[str], bool] = any_connected) -> None:
    """Refuse a store whose -wal or -shm is missing while other processes have it open: SQLite would create new ones,
    and each side would overwrite the other's commits. Waits ``wait`` seconds for processes that are just closing or
    opening it."""
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
    """SQLite's own descriptor of a file that a connection in this process has open, since closing one of our own would
    drop SQLite's locks; -1 where that can't be told."""
    identity = _identity_at(path)
    links = _links({"": identity}) if identity else None
    link, _ = (links or {}).get("", ("", ""))
    return int(os.path.basename(link)) if link else -1


def is_locked(path: str) -> bool:
    """Whether SQLite's lock tells that some connection has the file open in WAL mode, wherever its -wal is: known also
    where the -sessions file is gone, too. To be asked with a connection that has read nothing yet."""
    descriptor = descriptor_of(path)
    try:
        in_wal_mode = os.pread(descriptor, 2, _MODES_AT) == b"\2\2"
        return in_wal_mode and is_shared(descriptor, _SHARED_FIRST, _SHARED_SIZE)
    except OSError:  # without /proc, or closed by another thread
        return False
