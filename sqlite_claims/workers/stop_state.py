"""The decision to stop a worker, shared by its threads."""

from __future__ import annotations

import math
import threading
import time

from .context import Reason


class StopState:
    """Records whether a worker stops, why, and how long its running tasks may go on.

    Args:
        shutdown_timeout_s: the seconds that running tasks have when a handler stops the worker.
        reports_late_quits: record that a handler wants to end the run although the worker was stopping already. A pool
            needs to know this, since its other processes go on otherwise.
    """

    def __init__(self, *, shutdown_timeout_s: float, reports_late_quits: bool) -> None:
        self._shutdown_timeout_s = shutdown_timeout_s
        self._reports_late_quits = reports_late_quits
        self._lock = threading.Lock()
        self.requested = False
        self.reason: Reason = "stopped"
        self.by_handler = False
        self.error: BaseException | None = None
        # On the monotonic clock. Tasks that still run at the deadline are released.
        self.deadline = math.inf
        # Wakes the thread of the worker's main loop.
        self.wake = threading.Event()

    def stop(self, reason: Reason, timeout_s: float | None, *, by_handler: bool = False) -> None:
        """Claim no more tasks, and let running tasks finish within ``timeout_s`` (``None``: without a limit).

        A later call can only shorten the time.
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
        """Stop at once, because of an error that a retry cannot resolve; the run raises the first such error."""
        with self._lock:
            self.error = self.error or error
        self.stop("stopped", 0.0)
