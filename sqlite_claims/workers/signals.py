"""Makes SIGTERM and SIGINT readable from a file descriptor, so that ``select`` and ``poll`` can wait for these
signals."""

from __future__ import annotations

import math
import os
import select
import signal
import threading
from contextlib import suppress
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_WAIT_S_MAX = 86_400.0  # a much longer wait, in milliseconds, would not fit into the C int of poll
_DEFAULTS = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)


class Signals:
    """A context manager that makes SIGTERM and SIGINT readable. Within the block, the signals have no other effect.
    Only the main thread may enter the block.

    If the program has installed its own handler for one of the signals, only that handler receives the signal.

    The class uses ``set_wakeup_fd``, because a Python signal handler alone would not end a ``select`` on the main
    thread. Python runs signal handlers only on the main thread, when this thread next runs Python code. If the kernel
    delivers the signal to a different thread, the ``select`` continues to wait.

    In a forked child, the signal handlers are restored to their state before the block. Otherwise the parent could read
    a signal that was sent to the child, because the parent and the child share the pipe.
    """

    is_lost = False  # True if a task handler has closed the pipe

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
            with suppress(OSError):  # a task handler may have closed the descriptor
                os.close(descriptor)

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when a signal arrives."""
        return self._readable

    def wait(self, timeout: float | None) -> None:
        """Wait up to ``timeout`` seconds for a signal or a call of ``wake``. A wait of over a day may end early."""
        poll = select.poll()  # not select, which cannot wait for descriptors numbered 1,024 or higher
        poll.register(self._readable, select.POLLIN)
        poll.poll(None if timeout is None else math.ceil(min(timeout, _WAIT_S_MAX) * 1000))

    def wake(self) -> None:
        """Wake the thread that waits in ``wait``. May be called from any thread."""
        with suppress(OSError):  # the pipe is full, so the thread wakes anyway, or a task handler has closed the pipe
            os.write(self._writable, b"\0")

    def came(self) -> bool:
        """Read the next event, and return whether it is a signal. Does not block."""
        try:
            return os.read(self._readable, 1)[0] in self._replaced
        except BlockingIOError:
            return False
        except OSError:  # a task handler has closed the pipe
            self.is_lost = True
            return False


_entered: list[Signals] = []
_forking = threading.local()


def _before_fork() -> None:
    # Block the signals before the fork, so that a signal to the new child stays pending until the child has restored
    # the signal handlers.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if _entered else None


def _after_fork_in_child() -> None:
    while _entered:
        _entered.pop()._restore()
    _after_fork()


def _after_fork() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
