"""The doorbell: it wakes processes that wait for work, for a commit, or for the file's write lock.

csrc/doorbell.c implements it; without futexes, the waits below poll. A ring only means that something may have changed.
The database alone says what there is to do.
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
"""The reasons for a ring. READY: a task can be claimed now, or sooner than was known. COMMITS: any commit. WRITER: the
process that had the write lock won't need it again at once. (A commit hands the lock on too, but at most once a
millisecond.)"""
_SIZE = 4096
_POLL_S_MIN, _POLL_S_MAX = 0.001, 0.02


class Doorbell(Protocol):
    """Waits for other processes, and wakes them."""

    def read(self, which: int) -> int:
        """Return a number that changes with every ring. Read it before the search that may find nothing."""

    def ring(self, which: int) -> None:
        """Wake all that wait for this reason."""

    def wait(self, which: int, seen: int, seconds: float) -> None:
        """Sleep until a ring after ``seen`` was read, for at most ``seconds``. Can return early."""


class FutexBell(CBell):
    """A doorbell of a mapped file and the kernel's futex: a waiting process sleeps until a ring."""

    def __init__(self, core: CCore, store: str) -> None:
        """Open the ``-bell`` file of a store. Raises ``OSError`` if the file or the platform can't be used."""
        self._path = f"{store}-bell"
        descriptor = open_beside(store, "-bell", _SIZE)
        try:
            status = os.fstat(descriptor)
            self._identity = status.st_dev, status.st_ino
            if status.st_size != _SIZE:
                # Allocate the space: on a full disk, writing to a hole of a mapped file would kill the process.
                os.posix_fallocate(descriptor, 0, _SIZE)
            super().__init__(core, descriptor)
        finally:
            os.close(descriptor)

    def in_place(self) -> bool:
        """Return whether this is still the file that other processes open, and was not cut short."""
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
    """A doorbell without futexes: it polls ``version``, SQLite's data version, which every commit changes."""

    def __init__(self, version: Callable[[], int]) -> None:
        self._version = version
        self._rings = 0

    def read(self, which: int) -> int:  # noqa: ARG002 - every ring counts as each reason
        # The data version doesn't change with commits of this connection, that is, by other threads of this process.
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

    A greenlet that waits in C, and not in a function that they have replaced, blocks all others.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return (gevent is not None and gevent.is_module_patched("threading")) or (
        eventlet is not None and eventlet.is_monkey_patched("thread")
    )
