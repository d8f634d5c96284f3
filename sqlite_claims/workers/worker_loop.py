"""The main loop of a worker: starts its slots, does everything that they cannot do while a handler runs, ends them.

The slots (threads) claim tasks and run handlers. ``WorkerLoop``, on the thread that calls it, keeps their claims, ends
tasks that have timed out, and stores the results that wait behind a long task. At the end it releases all claims.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..interface import WorkerSession, WorkerStore
from ..model import TaskClaim
from . import task_log
from .attempts import EndedAttempt
from .claim_keeper import ClaimKeeper
from .context import Reason, RunSummary, TaskContext, WorkerStartError
from .execute import Failure
from .forked import HomeProcess
from .lazy_coroutines import LazyCoroutines
from .options import WorkerOptions
from .registry import HandlerTable
from .result_writer import ResultWriter
from .scoreboard import Scoreboard
from .slot import BATCH_SECONDS, Slot, SlotServices
from .stop_state import StopState
from .task_log import log
from .task_source import TaskSource

# The time that a handler has to return after its attempt was dropped. Then its thread is abandoned.
_RETURN_S_MAX = 1.0


class WorkerLoop:
    """Runs a worker. Call it once; the call returns when the worker has ended.

    Args:
        store: the store to claim from.
        handlers: the handlers; they decide which kinds of tasks are claimed.
        options: the checked options of the worker.
        until_idle: end when no open task is left for these handlers.
        scoreboard: where a process of a pool shows its tasks to the supervisor; ``None`` outside of a pool.
        max_tasks: end after this many tasks; ``None``: no limit.
        exceeds_memory: end if it returns ``True`` after a task; ``None``: no limit.
    """

    def __init__(
        self,
        store: WorkerStore,
        handlers: HandlerTable,
        options: WorkerOptions,
        *,
        until_idle: bool = False,
        scoreboard: Scoreboard | None = None,
        max_tasks: int | None = None,
        exceeds_memory: Callable[[], bool] | None = None,
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._options = options
        self._until_idle = until_idle
        self._scoreboard = scoreboard
        self._max_tasks = max_tasks
        self._exceeds_memory = exceeds_memory
        self._stop_state = StopState(
            shutdown_timeout_s=options.shutdown_timeout, reports_late_quits=scoreboard is not None
        )
        self._results = ResultWriter(store, gives_up=self._is_past_deadline, scoreboard=scoreboard)
        self._home = HomeProcess()
        self._coroutines = LazyCoroutines(self._home)
        self._slots: list[Slot] = []
        self._has_released = False
        # When the loop has something to do next, on the monotonic clock.
        self._due_at = math.inf
        self.abandoned_handlers = 0

    def __call__(self) -> RunSummary:
        """Run until idle or stopped. Raises the error that ended the run, after releasing all claims."""
        stop_state = self._stop_state
        with self._store.open_session(self._options.worker_id) as session:
            self._services = self._make_services(session)
            self._slots += [Slot(self._services, index) for index in range(self._options.concurrency)]
            self._keeper = ClaimKeeper(self._store, self._options, self._results, self._slots)
            try:
                for slot in self._slots:
                    slot.start()
            except WorkerStartError as error:
                stop_state.abort(error)
            while not self._has_ended():
                try:
                    pause_s = self._attend()
                except BaseException as error:  # noqa: BLE001 - raised below, when the slots have ended
                    stop_state.abort(error)
                    pause_s = BATCH_SECONDS
                stop_state.wake.wait(pause_s)
                stop_state.wake.clear()
            try:
                self._release_all()  # the claims of slots that an error has ended
            except BaseException as error:  # noqa: BLE001 - as above
                stop_state.abort(error)
        self._coroutines.stop(_RETURN_S_MAX)
        if stop_state.error is not None:
            raise stop_state.error
        return RunSummary(stop_state.reason, self._results.completed, self._results.failed, self._results.lost)

    def stop(self, reason: Reason, timeout: float | None = None) -> None:
        """Claim no more tasks, and release those that still run after ``timeout`` seconds (``None``: no limit)."""
        self._stop_state.stop(reason, timeout)

    @property
    def stopped_by_handler(self) -> bool:
        """Whether a handler has ended the run."""
        return self._stop_state.by_handler

    def _make_services(self, session: WorkerSession) -> SlotServices:
        options = self._options
        tasks = TaskSource(
            self._store,
            options,
            self._stop_state,
            kinds=self._handlers.kinds,
            session=session,
            until_idle=self._until_idle,
            max_tasks=self._max_tasks,
            exceeds_memory=self._exceeds_memory,
        )
        intervals_s = (options.poll_interval, options.task_timeout, options.heartbeat_interval)
        return SlotServices(
            store=self._store,
            handlers=self._handlers,
            tasks=tasks,
            results=self._results,
            stop_state=self._stop_state,
            coroutines=self._coroutines,
            home=self._home,
            scoreboard=self._scoreboard,
            patience_s=min(interval_s for interval_s in intervals_s if interval_s is not None),
            wake_at=self._wake_at,
        )

    def _is_past_deadline(self) -> bool:
        return time.monotonic() >= self._stop_state.deadline

    def _wake_at(self, due_at: float) -> None:
        if due_at < self._due_at:
            self._stop_state.wake.set()

    # -- the tasks that take long

    def _attend(self) -> float | None:
        """Do everything that is due, and return the seconds until something is due next (``None``: when woken)."""
        self._due_at = math.inf  # so that a slot that starts a task from now on wakes the loop again
        now = time.monotonic()
        due_at = math.inf
        if self._stop_state.requested:
            deadline = self._stop_state.deadline
            if now >= deadline and not self._has_released:
                self._has_released = True
                self._release_all()
            due_at = deadline if deadline > now else math.inf
        for slot in self._slots:
            due_at = min(due_at, self._attend_slot(slot, now))
        due_at = min(due_at, self._keeper.keep(now))
        self._due_at = due_at
        return None if due_at == math.inf else max(0.0, due_at - time.monotonic())

    def _attend_slot(self, slot: Slot, now: float) -> float:
        with slot.lock:
            task, started_at, holds_more = slot.current, slot.started_at, bool(slot.waiting or slot.ended)
        if task is None:
            return now + BATCH_SECONDS if holds_more else math.inf
        due_at = math.inf
        if holds_more:
            due_at = started_at + BATCH_SECONDS
            if now >= due_at:
                slot.flush()
                due_at = math.inf
        timeout_s = self._options.task_timeout
        if timeout_s is not None and not task._dropped:
            if now < started_at + timeout_s:
                return min(due_at, started_at + timeout_s)
            if slot.drop(task):
                failure = Failure(f"timed out after {timeout_s:g} s")
                self._results.settle([EndedAttempt(task._claimed, failure, now - started_at)])
        if task._dropped:
            abandon_at = slot.dropped_at + _RETURN_S_MAX
            if time.monotonic() < abandon_at:
                return min(due_at, abandon_at)
            if not self._stop_state.requested:
                self._replace(slot, task)
        return due_at

    def _replace(self, slot: Slot, task: TaskContext) -> None:
        """Abandon the thread of a handler that ignores its end, and start another one in its place.

        A process of a pool stops instead, and the supervisor replaces it: then the handler does not run on while later
        tasks run.
        """
        with slot.lock:
            if slot.current is not task:
                return
            slot.replaced = self._scoreboard is None
        log.warning("handler of task %r did not return after it was cancelled", task.task_id)
        if self._scoreboard is not None:
            self.stop("stopped", self._options.shutdown_timeout)
            return
        if task._on_drop is not None:
            self._coroutines.abandon_loop()
        self._slots[slot.index] = Slot(self._services, slot.index)
        self._slots[slot.index].start()

    # -- the end

    def _release_all(self) -> None:
        """Store all results, drop the tasks that still run, and release all claims."""
        unfinished: list[TaskClaim] = []
        for slot in self._slots:
            ended, claims = slot.take_all()
            unfinished += claims
            task = slot.current
            if task is not None and slot.drop(task):
                unfinished.append(task.claim)
                task_log.released(task, slot.dropped_at - slot.started_at)
            try:
                self._results.settle(ended)
            except Exception as error:  # noqa: BLE001 - the other slots' results must be stored all the same
                log.error("results not stored: %s", error)
        self._results.release(unfinished)

    def _has_ended(self) -> bool:
        if not self._stop_state.requested:
            return False
        busy = [slot for slot in self._slots if slot.alive]
        if not busy:
            return True
        for slot in busy:
            task = slot.current
            if task is None or not task._dropped or time.monotonic() < slot.dropped_at + _RETURN_S_MAX:
                return False
        self.abandoned_handlers = len(busy)
        log.warning("%d handlers did not return after they were cancelled", len(busy))
        return True
