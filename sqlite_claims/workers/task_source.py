"""Claims tasks for the slots of a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..interface import WorkerSession, WorkerStore
from ..model import ClaimedTask
from ..sqlite.doorbell import threads_are_greenlets
from .idle import IdleDetector
from .options import WorkerOptions
from .result_writer import TRANSIENT
from .stop_state import StopState
from .task_log import log

# The longest time until a slot that waits for work detects that the worker has to stop. With half of this time, an idle
# worker would use twice as much CPU time.
_NAP_S_MAX = 0.5
_FIRST_NAP_S = 0.01


class TaskSource:
    """Claims batches of tasks for the slots of a worker. Only one slot claims or waits at a time, so many idle slots
    cost no more than one idle slot.

    Args:
        max_tasks: stop the worker when it has claimed this many tasks. ``None`` means no limit.
        exceeds_memory: a function that is called before each claim except the first claim. The worker stops if the
            function returns ``True``.
        until_idle: stop the worker when no open task is left that the worker could run.
    """

    def __init__(
        self,
        store: WorkerStore,
        options: WorkerOptions,
        stop_state: StopState,
        *,
        kinds: frozenset[str] | None,
        session: WorkerSession,
        until_idle: bool,
        max_tasks: int | None,
        exceeds_memory: Callable[[], bool] | None,
    ) -> None:
        self._store = store
        self._options = options
        self._stop_state = stop_state
        self._kinds = kinds
        self._session = session
        self._until_idle = until_idle
        self._idle_detector = IdleDetector(store, tags=options.tags, kinds=kinds)
        self._tasks_left = max_tasks
        self._exceeds_memory = exceeds_memory
        self._has_claimed = False
        self._claiming = threading.Lock()
        self._counting = threading.Lock()

    def next_batch(self, size: int) -> list[ClaimedTask]:
        """Claim up to ``size`` tasks, and wait while no task can be claimed. An empty list means that the worker
        is stopping."""
        nap_s = _FIRST_NAP_S
        with self._claiming:
            if threads_are_greenlets():
                time.sleep(0)  # let the main loop run and react to signals, even if the handlers never wait
            while not self._stop_state.requested:
                if self._is_used_up():
                    self._stop_state.stop("stopped", None)
                    break
                try:
                    if batch := self._claim(size):
                        return batch
                    if self._until_idle and self._idle_detector.is_idle():
                        self._stop_state.stop("idle", None)
                        break
                    nap_s = self._wait(nap_s)
                except TRANSIENT as error:
                    log.warning("could not claim tasks, will retry: %s", error)
                    time.sleep(_NAP_S_MAX)
        return []

    def put_back(self, count: int) -> None:
        """Subtract ``count`` from the number of claimed tasks that ``max_tasks`` limits, because the tasks were
        released."""
        self._count(-count)

    def _is_used_up(self) -> bool:
        if self._tasks_left == 0:
            return True
        return self._exceeds_memory is not None and self._has_claimed and self._exceeds_memory()

    def _claim(self, size: int) -> list[ClaimedTask]:
        options = self._options
        batch = self._store.claim_available_tasks(
            options.worker_id,
            min(size, options.batch_size, self._tasks_left or size),
            options.claim_ttl,
            tags=options.tags,
            kinds=self._kinds,
            session=self._session,
            # A slot starts one task at a time. A second task with a limit would occupy a slot of its limit meanwhile.
            limited=1,
        )
        if batch:
            self._has_claimed = True
            self._count(len(batch))
        return batch

    def _wait(self, nap_s: float) -> float:
        """Wait for a task that can be claimed. With ``until_idle``, wait only for a short time. Return the length of
        this wait in seconds, which determines the length of the next wait."""
        options = self._options
        # With until_idle, the wait must be short. If a different worker completes the last open task, there is no new
        # task that would wake this worker.
        nap_s = min(2 * nap_s, _NAP_S_MAX, options.poll_interval) if self._until_idle else _NAP_S_MAX
        timeout_s = min(nap_s, options.poll_interval)
        while not self._store.wait_for_tasks(timeout_s, tags=options.tags, kinds=self._kinds):
            if self._until_idle or self._stop_state.requested:
                break
        return nap_s

    def _count(self, tasks: int) -> None:
        if self._tasks_left is not None:
            with self._counting:
                self._tasks_left -= tasks
