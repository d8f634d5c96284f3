"""Makes SIGTERM and SIGINT readable from a descriptor, so that ``select`` can wait for them."""

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
    """Within the block, these signals can be read here and have no other effect. For the main thread only.

    A signal for which the program has installed its own handler is left to that handler.

    It uses ``set_wakeup_fd``, because Python runs signal handlers on the main thread when that next runs Python code.
    If the kernel delivers the signal to another thread, a ``select`` on the main thread would go on waiting.

    In a forked child the signals are as they were before the block. Otherwise a signal for the child could be read in
    the parent, since the two share the pipe.
    """

    is_lost = False  # whether a handler has closed the pipe

    def __enter__(self) -> Self:
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)
        current = {number: signal.getsignal(number) for number in SIGNALS}
        self._replaced = {number: old for number, old in current.items() if old in _DEFAULTS}
        self._previous = signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)
        for number in self._replaced:
            signal.signal(number, lambda *_: None)
        _entered.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self in _entered:
            _entered.remove(self)
            self._restore()

    def _restore(self) -> None:
        for number, old in self._replaced.items():
            signal.signal(number, old)
        signal.set_wakeup_fd(self._previous)
        for descriptor in (self._readable, self._writable):
            with suppress(OSError):  # a task handler has closed it
                os.close(descriptor)

    def fileno(self) -> int:
        """Return the descriptor to wait for, for selectors."""
        return self._readable

    def wait(self, timeout: float | None) -> None:
        """Wait up to ``timeout`` seconds for a signal or a call of ``wake``. A very long wait may end early."""
        poll = select.poll()  # not select, which cannot wait for descriptors from 1,024 up
        poll.register(self._readable, select.POLLIN)
        poll.poll(None if timeout is None else math.ceil(min(timeout, _WAIT_S_MAX) * 1000))

    def wake(self) -> None:
        """Wake the thread that waits. May be called from any thread."""
        with suppress(OSError):  # full, so that the thread wakes anyway; or a task handler has closed it
            os.write(self._writable, b"\0")

    def came(self) -> bool:
        """Read the next event, and return whether it is a signal. Does not block."""
        try:
            return os.read(self._readable, 1)[0] in self._replaced
        except BlockingIOError:
            return False
        except OSError:  # a task handler has closed it
            self.is_lost = True
            return False


_entered: list[Signals] = []
_forking = threading.local()


def _before_fork() -> None:
    # A signal that is sent to the child at once is held back until the child has restored its handlers.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if _entered else None


def _after_fork_in_child() -> None:
    while _entered:
        _entered.pop()._restore()
    _after_fork()


def _after_fork() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
