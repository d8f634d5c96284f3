"""``WorkerHandle``: runs a worker on a background thread, stops the worker, and waits for its end."""

from __future__ import annotations

import math
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

# The longest time between two checks of ``join`` whether the worker has ended. If other code of the program has closed
# the descriptors that wake ``join``, only this regular check detects the end.
_POLL_S = 5.0


class StoppableLoop(Protocol):
    """The methods that the main loop of a worker and the main loop of a pool have."""

    def __call__(self) -> RunSummary: ...
    def stop(self, reason: Reason, timeout: float | None = None) -> None: ...


class WorkerHandle:
    """A worker or a pool that runs in the background. ``spawn`` returns the handle.

    The handle is a context manager. When the ``with`` block is left, the worker is stopped, and the block waits for the
    worker's end.
    If the program ends while the worker runs, the worker first releases its tasks.
    """

    def __init__(self, loop: StoppableLoop, name: str, shutdown_timeout: float) -> None:
        self._loop = loop
        self._shutdown_timeout = shutdown_timeout
        self._summary: RunSummary | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._home = HomeProcess()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        program_end.register(self)
        try:
            self._thread.start()
        except RuntimeError as error:
            program_end.unregister(self)
            raise WorkerStartError(f"cannot start the worker's thread: {error}") from error

    def shutdown(self, timeout: Duration | None = None) -> None:
        """Ask the worker to stop. The call returns at once, and ``join`` waits for the worker's end.

        The worker claims no more tasks. Tasks that still run at the timeout are released, and their attempts do not
        count. A second call can only shorten the timeout. ``shutdown`` may be called from any thread, also from a
        handler. In a forked child, the call has no effect.

        Args:
            timeout: the time within which running tasks have to finish, in seconds or as a ``timedelta``. Default:
                ``None``, no limit.
        """
        if self._home.is_left():
            return
        self._loop.stop("stopped", None if timeout is None else seconds("timeout", timeout))

    @overload
    def join(self, timeout: None = None) -> RunSummary: ...
    @overload
    def join(self, timeout: Duration) -> RunSummary | None: ...
    def join(self, timeout: Duration | None = None) -> RunSummary | None:
        """Wait until the worker has ended.

        While the main thread waits in ``join``, SIGTERM or SIGINT stops the worker within the worker's
        ``shutdown_timeout``. A second signal stops the worker at once. If the program has installed a handler for one
        of these signals, the signal does not stop the worker, and only the program's handler is called.

        Args:
            timeout: the longest time to wait, in seconds or as a ``timedelta``. Default: ``None``, no limit.

        Returns:
            The summary of the worker's run, or ``None`` if the worker still runs at the timeout.

        Raises:
            InvalidStateError: the current process is a forked child, and the worker runs in the parent process.
            Exception: the error that ended the worker, if there was one.
        """
        if self._home.is_left():
            raise InvalidStateError("the worker does not run in this forked child: call join in the parent process")
        deadline = None if timeout is None else time.monotonic() + seconds("timeout", timeout)
        if threading.current_thread() is threading.main_thread():
            with Signals() as signals:
                self._wait_with_signals(signals, deadline)
        else:
            self._done.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return self._outcome()

    def _outcome(self) -> RunSummary | None:
        if not self._done.is_set():
            return None
        if self._error is not None:
            raise self._error
        return self._summary

    def _wait_with_signals(self, signals: Signals, deadline: float | None = None) -> None:
        """Wait for the end of the worker. Stop the worker when a signal arrives."""
        timeout = self._shutdown_timeout
        with self.announced_on(signals):
            while not self._done.is_set():
                remaining_s = math.inf if deadline is None else deadline - time.monotonic()
                if remaining_s <= 0:
                    return
                wait_s = min(remaining_s, _POLL_S)
                if signals.is_lost:
                    self._done.wait(wait_s)
                    continue
                signals.wait(wait_s)
                if signals.came():
                    self._loop.stop("interrupted", timeout)
                    timeout = 0.0

    @property
    def done(self) -> bool:
        """``True`` if the worker has ended. Always ``True`` in a forked child, where the worker does not run."""
        return self._done.is_set() or self._home.is_left()

    @contextmanager
    def announced_on(self, signals: Signals) -> Iterator[None]:
        """Return a context manager. Within its block, the worker's end also wakes the thread that waits for
        ``signals``."""
        with self._lock:
            self._listeners.append(signals.wake)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(signals.wake)

    def _work(self) -> None:
        try:
            self._summary = self._loop()
        except BaseException as error:  # noqa: BLE001 - join raises the error
            self._error = error
        finally:
            program_end.unregister(self)
            with self._lock:
                self._done.set()
                for wake in self._listeners:
                    wake()

    def stop_at_end(self) -> None:
        """Stop the worker at once and release its tasks, because the program ends."""
        self._loop.stop("stopped", 0.0)

    def wait_at_end(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for the worker's end."""
        self._done.wait(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.done:
            return
        self._loop.stop("stopped", None if kind is None else self._shutdown_timeout)
        if kind is None:
            self.join()
        else:
            self._done.wait()  # not join: an error of the worker must not hide the block's exception


def run_to_end(spawn: Callable[[], WorkerHandle]) -> RunSummary:
    """Spawn a worker and wait for its end. Signals can stop the worker from the start."""
    if threading.current_thread() is not threading.main_thread():
        with program_end.exempt_this_thread():
            handle = spawn()
        with handle:
            return handle.join()
    with Signals() as signals, spawn() as handle:
        handle._wait_with_signals(signals)
        summary = handle._outcome()
        assert summary is not None
        return summary
