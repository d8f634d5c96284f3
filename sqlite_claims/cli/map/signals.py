"""Signals as something that a selector can wait for, and a count of how often the user has asked to stop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupted(BaseException):
    """The user asked a second time to stop while something could not return."""


class Signals:
    """While entered: SIGINT, SIGTERM and SIGHUP count as ``interrupts``, and they and SIGCHLD make it readable.

    Only for the main thread.
    """

    def __init__(self, on_first_interrupt: Callable[[], None]) -> None:
        """``on_first_interrupt`` is called from within the handler, wherever the program is then: it may be waiting for
        a reader of its output for long."""
        self.interrupts = 0
        self._on_first_interrupt = on_first_interrupt
        self.child_ended = True  # until looked at: a child may have ended before we listened
        self._raising = False
        self._read = self._write = -1
        self._before: dict[signal.Signals, Any] = {}
        self._before_wakeup = -1

    def fileno(self) -> int:
        return self._read

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._install(signal.SIGCHLD, self._note_child)
        self._install(signal.SIGINT, self._note_interrupt)
        self._install(signal.SIGTERM, self._note_interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            self._install(signal.SIGHUP, self._note_interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._before_wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)

    def _install(self, number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
        self._before[number] = signal.signal(number, handler)

    def _note_child(self, _number: int, _frame: FrameType | None) -> None:
        self.child_ended = True

    def _note_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupts += 1
        if self.interrupts == 1:
            self._on_first_interrupt()
        elif self._raising:
            raise Interrupted

    def clear(self) -> None:
        """Make it unreadable until the next signal."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._read, 512)) == 512:
                pass

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Within it the second interrupt raises ``Interrupted``: for what may wait for others without an end."""
        self._raising = True
        try:
            if self.interrupts >= 2:
                raise Interrupted
            yield
        finally:
            self._raising = False
