"""The doorbell: how a process that has nothing to do sleeps until there may be something, and how one that waits for
the file's writer learns that it is free. See csrc/doorbell.c, which does it; without futexes the waits below poll.

It only ever tells that a look may be worth while. What there is to do stands in the database.
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
"""What is rung for: tasks that may be claimed, now or sooner than was known; any commit; that whoever had the writer
won't want it again at once. (A commit lets somebody else have it, too, but once a millisecond only.)"""
_SIZE = 4096
_POLL_S_MIN, _POLL_S_MAX = 0.001, 0.02


class Doorbell(Protocol):
    """Waiting for others, and letting them know."""

    def read(self, which: int) -> int:
        """A number that changes whenever it rings. To be read before the look that finds nothing."""

    def ring(self, which: int) -> None:
        """Wake all who wait for this."""

    def wait(self, which: int, seen: int, seconds: float) -> None:
        """Sleep until it has rung since ``seen`` was read, for at most ``seconds``. May return early."""


class FutexBell(CBell):
    """By a mapped file and the kernel's futex: nothing runs until somebody rings."""

    def __init__(self, core: CCore, store: str) -> None:
        """Open the ``-bell`` file of a store. Raises ``OSError`` if the file or the platform can't be used."""
        self._path = f"{store}-bell"
        descriptor = open_beside(store, "-bell", _SIZE)
        try:
            status = os.fstat(descriptor)
            self._identity = status.st_dev, status.st_ino
            if status.st_size != _SIZE:
                # Really there: on a full disk, writing to a hole of a mapped file would kill the process.
                os.posix_fallocate(descriptor, 0, _SIZE)
            super().__init__(core, descriptor)
        finally:
            os.close(descriptor)

    def in_place(self) -> bool:
        """Whether this is still the file that others open, and it is whole."""
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
    """Where there is no futex: ``version`` (SQLite's data version, which any commit changes) is looked at."""

    def __init__(self, version: Callable[[], int]) -> None:
        self._version = version
        self._rings = 0

    def read(self, which: int) -> int:  # noqa: ARG002 - it can't tell what was rung for
        # The data version doesn't tell of commits by this very connection, that is, of other threads of this process.
        return (self._version() << 32) + self._rings

    def ring(self, which: int) -> None:  # noqa: ARG002
        self._rings += 1

    def wait(self, which: int, seen: int, seconds: float) -> None:
        _poll(lambda: self.read(which), seen, seconds)


def _poll(read: Callable[[], int], seen: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    nap = _POLL_S_MIN
    while read() == seen:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(nap, left))
        nap = min(nap * 2, _POLL_S_MAX)


def threads_are_greenlets() -> bool:
    """Whether gevent or eventlet has made greenlets of this process's threads: one that waits in C, and not in one of
    the functions that they have replaced, keeps all others from running."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return (gevent is not None and gevent.is_module_patched("threading")) or (
        eventlet is not None and eventlet.is_monkey_patched("thread")
    )
