"""SIGTERM and SIGINT as something that a ``select`` waits for."""

from __future__ import annotations

import math
import os
import select
import signal
import threading
from contextlib import suppress
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_WAIT_S_MAX = 86_400.0  # poll takes milliseconds as a C int
_DEFAULTS = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)


class Signals:
    """While the block lasts, these signals do nothing but to come out here. Main thread only.

    A signal for which the program has a handler of its own stays with that. It takes ``set_wakeup_fd``, because
    Python's own handlers run on the main thread when that next runs Python: a ``select`` there would go on waiting
    where the kernel gave the signal to another thread.

    In a forked child the signals are as they were before the block: else one that is sent to the child would come out
    here, in its parent, whose pipe it shares.
    """

    is_lost = False  # whether a handler has closed what the signals come by

    def __enter__(self) -> Self:
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)
        found = {number: signal.getsignal(number) for number in SIGNALS}
        self._replaced = {number: old for number, old in found.items() if old in _DEFAULTS}
        self._previous = signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)
        for number in self._replaced:
            signal.signal(number, lambda *_: None)
        _entered.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self in _entered:
            _entered.remove(self)
            self._undo()

    def _undo(self) -> None:
        for number, old in self._replaced.items():
            signal.signal(number, old)
        signal.set_wakeup_fd(self._previous)
        for descriptor in (self._readable, self._writable):
            with suppress(OSError):  # a handler has closed it
                os.close(descriptor)

    def fileno(self) -> int:
        """For ``select``."""
        return self._readable

    def wait(self, timeout: float | None) -> None:
        """Wait for an event up to a number of seconds, or somewhat less if that is very long."""
        poll = select.poll()  # and no select, which knows no descriptors from 1,024 up
        poll.register(self._readable, select.POLLIN)
        poll.poll(None if timeout is None else math.ceil(min(timeout, _WAIT_S_MAX) * 1000))

    def wake(self) -> None:
        """Wake who waits. From any thread."""
        with suppress(OSError):  # full, so that it wakes anyway; or a handler has closed it
            os.write(self._writable, b"\0")

    def came(self) -> bool:
        """Take the next event: whether it is one of these signals. Does not block."""
        try:
            return os.read(self._readable, 1)[0] in self._replaced
        except BlockingIOError:
            return False
        except OSError:  # a handler has closed it
            self.is_lost = True
            return False


_entered: list[Signals] = []
_forking = threading.local()


def _before_fork() -> None:
    # One that is sent to the child at once waits until the child's signals are its own.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if _entered else None


def _after_fork_in_child() -> None:
    while _entered:
        _entered.pop()._undo()
    _after_fork()


def _after_fork() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
