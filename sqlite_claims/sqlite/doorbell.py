"""The doorbell, which wakes processes that wait for work, for a commit, or for the file's write lock.

csrc/doorbell.c implements the doorbell with futexes. On a platform without futexes, the waits in this module poll. A
ring means only that something in the store may have changed. A process that wakes up reads the database to find out
what to do.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Protocol

from .c_core import CBell, CCore
from .files.side_files import open_beside

if TYPE_CHECKING:
    from collections.abc import Callable

READY, COMMITS, WRITER = 0, 1, 2
"""The reasons for a ring. READY: a task can be claimed now, or earlier than waiting workers expect. COMMITS: a
transaction was committed. WRITER: the process that had the write lock will not need the lock again at once. (A commit
also wakes a process that waits for the write lock, but at most once a millisecond.)"""
_SIZE = 4096
_POLL_S_MIN, _POLL_S_MAX = 0.001, 0.02


class Doorbell(Protocol):
    """A doorbell. A process can ring the doorbell to wake other processes, or wait for a ring."""

    def read(self, which: int) -> int:
        """Return a number that changes with every ring. Call this method before a search, so that the caller misses no
        later ring."""

    def ring(self, which: int) -> None:
        """Wake all processes and threads that wait for this reason."""

    def wait(self, which: int, seen: int, seconds: float) -> None:
        """Sleep until the doorbell rings, for at most ``seconds``. Return at once if the doorbell rang after ``read``
        had returned ``seen``. The method may also return early without a ring."""


class FutexBell(CBell):
    """A doorbell that uses a memory-mapped file and the kernel's futexes. A waiting process sleeps until a ring."""

    def __init__(self, core: CCore, store: str) -> None:
        """Open the ``-bell`` file of a store. Raise ``OSError`` if the file can't be used or the platform has no
        futexes."""
        self._path = f"{store}-bell"
        descriptor = open_beside(store, "-bell", _SIZE)
        try:
            status = os.fstat(descriptor)
            self._identity = status.st_dev, status.st_ino
            if status.st_size != _SIZE:
                # Allocate the disk space now, because on a full disk a write to an unallocated part of a mapped file
                # would kill the process.
                os.posix_fallocate(descriptor, 0, _SIZE)
            super().__init__(core, descriptor)
        finally:
            os.close(descriptor)

    def in_place(self) -> bool:
        """Return whether the mapped file is still the file that other processes open, and still has its full size."""
        try:
            status = os.stat(self._path)
        except OSError:
            return False
        whole = (status.st_dev, status.st_ino, status.st_size) == (*self._identity, _SIZE)
        return whole and not self.is_lost()

    def wait(self, which: int, seen: int, seconds: float) -> None:
        if threads_are_greenlets():
            _poll(lambda: self.read(which), seen, seconds)
            return
        self.sleep(which, seen, max(0, int(seconds * 1e6)))


class PollingBell:
    """A doorbell without futexes. The object polls ``version``, which returns SQLite's data version: every commit of a
    different connection changes this number."""

    def __init__(self, version: Callable[[], int]) -> None:
        self._version = version
        self._rings = 0

    def read(self, which: int) -> int:  # noqa: ARG002 - the reasons are not distinguished
        # Commits on this store's own connection, by other threads, don't change the data version. So the object also
        # counts its own rings.
        return (self._version() << 32) + self._rings

    def ring(self, which: int) -> None:  # noqa: ARG002
        self._rings += 1

    def wait(self, which: int, seen: int, seconds: float) -> None:
        _poll(lambda: self.read(which), seen, seconds)


def _poll(read: Callable[[], int], seen: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    nap_s = _POLL_S_MIN
    while read() == seen:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            return
        time.sleep(min(nap_s, remaining_s))
        nap_s = min(nap_s * 2, _POLL_S_MAX)


def threads_are_greenlets() -> bool:
    """Return whether gevent or eventlet has replaced this process's threads by greenlets.

    A greenlet that waits in C code, and not in a function that gevent or eventlet has replaced, blocks all other
    greenlets.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return (gevent is not None and gevent.is_module_patched("threading")) or (
        eventlet is not None and eventlet.is_monkey_patched("thread")
    )
