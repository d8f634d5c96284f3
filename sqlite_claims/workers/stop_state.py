"""``StopState``: an object that the worker's threads share, and that contains the request to stop the worker."""

from __future__ import annotations

import math
import threading
import time

from .context import Reason


class StopState:
    """Records whether a worker is stopping, the reason, and how long the running tasks may continue.

    Args:
        shutdown_timeout_s: the seconds within which running tasks have to finish when a handler stops the worker.
        reports_late_quits: also record a handler's request to end the run if the worker is already stopping. A pool
            needs this record, because otherwise the pool's other processes would continue.
    """

    def __init__(self, *, shutdown_timeout_s: float, reports_late_quits: bool) -> None:
        self._shutdown_timeout_s = shutdown_timeout_s
        self._reports_late_quits = reports_late_quits
        self._lock = threading.Lock()
        self.requested = False
        self.reason: Reason = "stopped"
        self.by_handler = False
        self.error: BaseException | None = None
        # The time on the monotonic clock at which tasks that still run are released.
        self.deadline = math.inf
        # The event that wakes the thread of the worker's main loop.
        self.wake = threading.Event()

    def stop(self, reason: Reason, timeout_s: float | None, *, by_handler: bool = False) -> None:
        """Make the worker claim no more tasks, and release tasks that still run after ``timeout_s`` seconds (``None``:
        no limit).

        A later call can only shorten this time.
        """
        now = time.monotonic()
        with self._lock:
            if not self.requested or (by_handler and self._reports_late_quits):
                self.requested = True
                self.by_handler = by_handler
                self.reason = reason
            if by_handler:
                timeout_s = self._shutdown_timeout_s
            if timeout_s is not None:
                self.deadline = min(self.deadline, now + timeout_s)
        self.wake.set()

    def abort(self, error: BaseException) -> None:
        """Stop the worker at once because of an error that a retry cannot resolve. The worker's run raises the first
        such error."""
        with self._lock:
            self.error = self.error or error
        self.stop("stopped", 0.0)
