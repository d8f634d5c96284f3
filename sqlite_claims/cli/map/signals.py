"""Signals that a selector can wait for, and a count of the user's interrupts."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Self

_Handler = Callable[[int, FrameType | None], object] | int | None


class Interrupted(BaseException):
    """A second interrupt arrived during a call that may block."""


class Signals:
    """Counts the signals SIGINT, SIGTERM and SIGHUP that arrive during the ``with`` block, in ``interrupts``.

    These signals and SIGCHLD make the descriptor ``fileno()`` readable. Use this class only in the main thread.
    """

    def __init__(self, on_first_interrupt: Callable[[], None]) -> None:
        """Create the counter of signals.

        The signal handler calls ``on_first_interrupt`` directly, because the main loop may be blocked in a write.
        """
        self.interrupts = 0
        self._on_first_interrupt = on_first_interrupt
        self.child_ended = True  # a child may have ended before the handler was installed
        self._is_raising = False
        self._read = self._write = -1
        self._previous: dict[signal.Signals, _Handler] = {}
        self._previous_wakeup = -1

    def fileno(self) -> int:
        return self._read

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._previous_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._install(signal.SIGCHLD, self._note_child)
        self._install(signal.SIGINT, self._note_interrupt)
        self._install(signal.SIGTERM, self._note_interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            self._install(signal.SIGHUP, self._note_interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._previous)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)

    def _install(self, number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
        self._previous[number] = signal.signal(number, handler)

    def _note_child(self, _number: int, _frame: FrameType | None) -> None:
        self.child_ended = True

    def _note_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupts += 1
        if self.interrupts == 1:
            self._on_first_interrupt()
        elif self._is_raising:
            raise Interrupted

    def clear(self) -> None:
        """Empty the pipe, so that the pipe becomes readable only at the next signal."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._read, 512)) == 512:
                pass

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Make the second interrupt raise ``Interrupted`` within the block. Use this for calls that may block
        forever."""
        self._is_raising = True
        try:
            if self.interrupts >= 2:
                raise Interrupted
            yield
        finally:
            self._is_raising = False
