"""The reports of progress that a handler makes during one attempt. Most reports are merged, so that a handler may
report often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import BackendError, ClaimLostError
from ..interface import TaskClaimStore
from ..model import TaskClaim
from .task_log import log

# The time between two writes. A report waits at most this long.
_INTERVAL_S = 1.0


class ProgressReports:
    """Writes the reports of one attempt: the first report at once, later reports by a timer, and the last report when
    the attempt ends. If a write fails, its values are written with the next report. ``on_lost``: a function that is
    called if the claim is lost."""

    def __init__(self, store: TaskClaimStore, claim: TaskClaim, *, on_lost: Callable[[], object]) -> None:
        self._store = store
        self._claim = claim
        self._on_lost = on_lost
        self.checkpoint: bytes | None = None  # the latest checkpoint of this attempt
        self._writing = threading.Lock()  # held during a write
        self._lock = threading.Lock()  # guards the attributes below
        self._pending: dict[str, Any] = {}
        self._timer: threading.Timer | None = None
        self._has_begun = False
        self._has_ended = False
        self._has_logged = False
        self._written_at = 0.0

    def add(self, values: dict[str, Any]) -> None:
        """Report these arguments of ``report_progress``. Raises no error of the store."""
        with self._lock:
            if self._has_ended:
                return
            self._pending.update(values)
            self.checkpoint = values.get("checkpoint", self.checkpoint)
            if self._has_begun:
                self._start_timer()
                return
            self._has_begun = True
        self._write()

    def end(self) -> None:
        """Write the last report, and ignore later reports."""
        with self._lock:
            self._has_ended = True
            timer = self._timer
        if timer is not None:
            timer.cancel()
        self._write()

    def _start_timer(self) -> None:
        if self._timer is not None:
            return
        timer = threading.Timer(max(0.0, self._written_at + _INTERVAL_S - time.monotonic()), self._write)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the system has no more threads, so the next report tries again
            return
        self._timer = timer

    def _write(self) -> None:
        with self._writing:
            with self._lock:
                values, self._pending = self._pending, {}
                self._timer = None
            if not values:
                return
            try:
                self._store.report_progress(self._claim, **values)
            except ClaimLostError:
                self._on_lost()
            except BackendError as error:
                with self._lock:
                    self._pending = values | self._pending
                if not self._has_logged:
                    self._has_logged = True
                    log.warning("could not store the progress of task %r: %s", self._claim.task_id, error)
            self._written_at = time.monotonic()
