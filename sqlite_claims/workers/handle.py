"""A run in the background: stop it, wait for it, and never be kept by it from ending the program."""

from __future__ import annotations

import atexit
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Protocol, Self, overload

from ..model import Duration
from .context import Reason, RunSummary
from .options import seconds

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# How long the end of the program waits for claims to be given back.
_EXIT_S_MAX = 5.0


class Runnable(Protocol):
    """What a handle runs."""

    def __call__(self) -> RunSummary: ...
    def stop(self, reason: Reason, timeout: float | None = None) -> None: ...


class WorkerHandle:
    """A worker that runs in the background. A context manager: leaving the block stops it and waits.

    A program that ends without stopping it gives back what it holds first.
    """

    def __init__(self, run: Runnable, name: str, shutdown_timeout: float) -> None:
        self._run = run
        self._shutdown_timeout = shutdown_timeout
        self._summary: RunSummary | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._body, name=name, daemon=True)
        atexit.register(self._leave)
        self._thread.start()

    def shutdown(self, timeout: Duration | None = None) -> None:
        """Ask it to stop: it claims no more, and running tasks may finish within ``timeout`` (``None``: however long
        they take); what is left then is given back at no cost. Does NOT wait: ``join`` does. A second call can only
        shorten the time. May be called from any thread, handlers included."""
        self._run.stop("stopped", None if timeout is None else seconds("timeout", timeout))

    @overload
    def join(self, timeout: None = None) -> RunSummary: ...
    @overload
    def join(self, timeout: Duration) -> RunSummary | None: ...
    def join(self, timeout: Duration | None = None) -> RunSummary | None:
        """Wait until it has ended: its summary, or ``None`` if it still runs at the timeout. Raises what ended it
        where that was an error.

        On the main thread, SIGTERM and SIGINT meanwhile stop it, within its ``shutdown_timeout``; a second one at once.
        Where the program has a handler of its own for one of them, that is left alone.
        """
        deadline = None if timeout is None else time.monotonic() + seconds("timeout", timeout)
        if threading.current_thread() is threading.main_thread():
            self._wait_for_end_or_signals(deadline)
        else:
            self._done.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if not self._done.is_set():
            return None
        if self._error is not None:
            raise self._error
        return self._summary

    def _wait_for_end_or_signals(self, deadline: float | None) -> None:
        with signals_as_bytes() as (readable, writable), self.announced_on(writable):
            timeout = self._shutdown_timeout
            while not self._done.is_set():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return
                if select.select([readable], [], [], left)[0] and os.read(readable, 1) == b"s":
                    self._run.stop("interrupted", timeout)
                    timeout = 0.0

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._done.is_set()

    @contextmanager
    def announced_on(self, writable: int) -> Iterator[None]:
        """Its end is a byte ``b"e"`` on this descriptor, for those who wait for other things too."""

        def tell() -> None:
            with suppress(BlockingIOError):
                os.write(writable, b"e")

        with self._lock:
            self._listeners.append(tell)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(tell)

    def _body(self) -> None:
        try:
            self._summary = self._run()
        except BaseException as error:  # noqa: BLE001 - join raises it
            self._error = error
        finally:
            atexit.unregister(self._leave)
            with self._lock:
                self._done.set()
                for tell in self._listeners:
                    tell()

    def _leave(self) -> None:
        self._run.stop("stopped", 0.0)
        self._done.wait(_EXIT_S_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._done.is_set():
            return
        self._run.stop("stopped", None if kind is None else self._shutdown_timeout)
        if kind is None:
            self.join()
        else:
            self._done.wait()  # an error of its own would hide the one that is under way


@contextmanager
def signals_as_bytes() -> Iterator[tuple[int, int]]:
    """A pipe that bears a byte ``b"s"`` for each SIGTERM and SIGINT while the block lasts. Main thread only.

    A pipe, because a signal handler may only do what can be interrupted by another one.
    """
    readable, writable = os.pipe()
    os.set_blocking(writable, False)

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what a signal handler is given
        with suppress(BlockingIOError):
            os.write(writable, b"s")

    defaults = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)
    replaced = {number: old for number in SIGNALS if (old := signal.getsignal(number)) in defaults}
    try:
        for number in replaced:
            signal.signal(number, note)
        yield readable, writable
    finally:
        for number, old in replaced.items():
            signal.signal(number, old)
        os.close(readable)
        os.close(writable)
