"""A run in the background: stop it, wait for it, and never be kept by it from ending the program."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self, overload

from ..errors import InvalidStateError
from ..model import Duration
from . import program_end
from .context import Reason, RunSummary, WorkerStartError
from .forked import HomeProcess
from .options import seconds
from .signals import Signals


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
        self._home = HomeProcess()
        self._thread = threading.Thread(target=self._body, name=name, daemon=True)
        program_end.register(self)
        try:
            self._thread.start()
        except RuntimeError as error:
            program_end.unregister(self)
            raise WorkerStartError(f"the worker's thread can't be started: {error}") from error

    def shutdown(self, timeout: Duration | None = None) -> None:
        """Ask it to stop: it claims no more, and running tasks may finish within ``timeout`` (``None``: however long
        they take); what is left then is given back at no cost. Does NOT wait: ``join`` does. A second call can only
        shorten the time. May be called from any thread, handlers included. Does nothing in a forked child."""
        if self._home.is_left():
            return
        self._run.stop("stopped", None if timeout is None else seconds("timeout", timeout))

    @overload
    def join(self, timeout: None = None) -> RunSummary: ...
    @overload
    def join(self, timeout: Duration) -> RunSummary | None: ...
    def join(self, timeout: Duration | None = None) -> RunSummary | None:
        """Wait until it has ended: its summary, or ``None`` if it still runs at the timeout. Raises what ended it
        where that was an error. Raises ``InvalidStateError`` in a forked child, since it runs in the parent.

        On the main thread, SIGTERM and SIGINT meanwhile stop it, within its ``shutdown_timeout``; a second one at once.
        Where the program has a handler of its own for one of them, that is left alone.
        """
        if self._home.is_left():
            raise InvalidStateError("this process was forked from the one in which the worker runs: join it there")
        deadline = None if timeout is None else time.monotonic() + seconds("timeout", timeout)
        if threading.current_thread() is threading.main_thread():
            with Signals() as signals:
                self._heed(signals, deadline)
        else:
            self._done.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return self._outcome()

    def _outcome(self) -> RunSummary | None:
        if not self._done.is_set():
            return None
        if self._error is not None:
            raise self._error
        return self._summary

    def _heed(self, signals: Signals, deadline: float | None = None) -> None:
        """Wait for the end, and stop at signals."""
        timeout = self._shutdown_timeout
        with self.announced_on(signals):
            while not self._done.is_set():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return
                if signals.is_lost:
                    self._done.wait(left)
                    continue
                signals.wait(left)
                if signals.came():
                    self._run.stop("interrupted", timeout)
                    timeout = 0.0

    @property
    def done(self) -> bool:
        """Whether the worker has ended. ``True`` in a forked child, where it does not run."""
        return self._done.is_set() or self._home.is_left()

    @contextmanager
    def announced_on(self, signals: Signals) -> Iterator[None]:
        """Its end wakes who waits for signals, too."""
        with self._lock:
            self._listeners.append(signals.wake)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(signals.wake)

    def _body(self) -> None:
        try:
            self._summary = self._run()
        except BaseException as error:  # noqa: BLE001 - join raises it
            self._error = error
        finally:
            program_end.unregister(self)
            with self._lock:
                self._done.set()
                for tell in self._listeners:
                    tell()

    def stop_at_end(self) -> None:
        """Give back the worker's tasks, since the program ends."""
        self._run.stop("stopped", 0.0)

    def wait_at_end(self, timeout: float) -> None:
        """Wait for the worker's end, at most ``timeout`` seconds."""
        self._done.wait(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.done:
            return
        self._run.stop("stopped", None if kind is None else self._shutdown_timeout)
        if kind is None:
            self.join()
        else:
            self._done.wait()  # an error of its own would hide the one that is under way


def run_to_end(spawn: Callable[[], WorkerHandle]) -> RunSummary:
    """Spawn and join, heeding signals from before the start."""
    if threading.current_thread() is not threading.main_thread():
        with program_end.put_off_by_this_thread():
            handle = spawn()
        with handle:
            return handle.join()
    with Signals() as signals, spawn() as handle:
        handle._heed(signals)
        summary = handle._outcome()
        assert summary is not None
        return summary
