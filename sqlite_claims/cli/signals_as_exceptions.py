"""Conversion of SIGTERM and SIGHUP into an exception, so that a command can clean up before it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise ``SystemExit`` within the block, as Ctrl-C raises ``KeyboardInterrupt``.

    Use this context manager only in the main thread.
    """
    previous = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup or an embedding program may have set a different action
            previous[number] = signal.signal(number, _exit)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
