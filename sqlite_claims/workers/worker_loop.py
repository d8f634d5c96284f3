"""The main loop of a worker. The loop starts the worker's slots, checks the running tasks, and ends the slots.

The slots (threads) claim tasks and run handlers. ``WorkerLoop`` runs on the thread that calls it. The loop renews the
claims of the slots and ends tasks that have timed out. While a slot runs a long task, the loop also stores
the finished results of this slot. At the end, the loop releases all claims.
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
from .lifespans import Lifespans
from .options import WorkerOptions
from .registry import HandlerTable
from .result_writer import ResultWriter
from .scoreboard import Scoreboard
from .slot import BATCH_SECONDS, Slot, SlotServices
from .stop_state import StopState
from .task_log import log
from .task_source import TaskSource

# The time within which a handler has to return after its attempt was dropped. After this time, the worker abandons the
# handler's thread.
_RETURN_S_MAX = 1.0


class WorkerLoop:
    """Runs a worker. Call the object once. The call returns when the worker has ended.

    Args:
        store: the store from which the worker claims tasks.
        handlers: the handlers. The worker claims only tasks of kinds that have a handler.
        options: the checked options of the worker.
        until_idle: end when no open task is left that these handlers could run.
        scoreboard: the shared memory in which a pool's process records its running tasks. ``None`` outside of a pool.
        max_tasks: end after this many tasks. ``None`` means no limit.
        exceeds_memory: a function that is called before each claim except the first claim. The worker ends if the
            function returns ``True``. ``None`` means no limit.
        on_timeout: in a process of a pool, a function that lets the supervisor watch a task with this timeout in
            seconds. ``None``: this worker ends tasks that have timed out.
        on_start: a function that is called when the lifespans were entered, before the first claim.
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
        on_start: Callable[[], object] = lambda: None,
        on_timeout: Callable[[float], object] | None = None,
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._options = options
        self._until_idle = until_idle
        self._scoreboard = scoreboard
        self._max_tasks = max_tasks
        self._exceeds_memory = exceeds_memory
        self._on_start = on_start
        self._on_timeout = on_timeout
        self._shortest_timeout_s = math.inf
        # True while the lifespans are entered, and after one of them has failed.
        self.is_starting = False
        self._stop_state = StopState(
            shutdown_timeout_s=options.shutdown_timeout, reports_late_quits=scoreboard is not None
        )
        self._results = ResultWriter(store, gives_up=self._is_past_deadline, scoreboard=scoreboard)
        self._home = HomeProcess()
        self._coroutines = LazyCoroutines(self._home)
        self._slots: list[Slot] = []
        self._has_released = False
        # The time on the monotonic clock at which the loop next has to check a task or renew the claims.
        self._due_at = math.inf
        self.abandoned_handlers = 0

    def __call__(self) -> RunSummary:
        """Run the worker until it is idle or stopped. After an error, release all claims and raise the error."""
        self.is_starting = True
        try:
            with Lifespans(self._handlers.lifespans, self._coroutines, self._home):
                self.is_starting = False
                self._on_start()
                self._run()
        finally:
            self._coroutines.stop(_RETURN_S_MAX)
        return RunSummary(self._stop_state.reason, self._results.completed, self._results.failed, self._results.lost)

    def _run(self) -> None:
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
                except BaseException as error:  # noqa: BLE001 - raised at the end, when the slots have ended
                    stop_state.abort(error)
                    pause_s = BATCH_SECONDS
                stop_state.wake.wait(pause_s)
                stop_state.wake.clear()
            try:
                self._release_all()  # if an error has ended a slot, the slot may still hold claims
            except BaseException as error:  # noqa: BLE001 - raised at the end
                stop_state.abort(error)
        if self.abandoned_handlers:
            self._coroutines.abandon_loop()
        if stop_state.error is not None:
            raise stop_state.error

    def stop(self, reason: Reason, timeout: float | None = None) -> None:
        """Claim no more tasks, and release tasks that still run after ``timeout`` seconds (``None``: no limit)."""
        self._stop_state.stop(reason, timeout)

    @property
    def stopped_by_handler(self) -> bool:
        """``True`` if a handler has ended the run."""
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
            on_timeout=self._watch_timeout,
        )

    def _is_past_deadline(self) -> bool:
        return time.monotonic() >= self._stop_state.deadline

    def _wake_at(self, due_at: float) -> None:
        if due_at < self._due_at:
            self._stop_state.wake.set()

    def _watch_timeout(self, timeout_s: float) -> float:
        """Return when the main loop has to check a task with its own timeout, in seconds after its start."""
        if self._on_timeout is None:
            return min(timeout_s, self._services.patience_s)
        if timeout_s < self._shortest_timeout_s:
            self._shortest_timeout_s = timeout_s
            self._on_timeout(timeout_s)
        return self._services.patience_s

    # -- checking running tasks

    def _attend(self) -> float | None:
        """Do all work that is due. Return the seconds until the loop has more work to do (``None``: the loop has to
        wait until another thread wakes it)."""
        self._due_at = math.inf  # if a slot starts a task after this line, the slot wakes the loop again
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
        if task.timeout is not None and self._on_timeout is None:
            timeout_s = task.timeout
        if timeout_s is not None and not task._dropped:
            if now < started_at + timeout_s:
                return min(due_at, started_at + timeout_s)
            if slot.drop(task):
                task._end_progress()
                failure = Failure(f"timed out after {timeout_s:g} s", timed_out=True)
                self._results.settle([EndedAttempt(task._claimed, failure, now - started_at)])
        if task._dropped:
            abandon_at = slot.dropped_at + _RETURN_S_MAX
            if time.monotonic() < abandon_at:
                return min(due_at, abandon_at)
            if not self._stop_state.requested:
                self._replace(slot, task)
        return due_at

    def _replace(self, slot: Slot, task: TaskContext) -> None:
        """Abandon the thread of a handler that does not return after its attempt was dropped. Start a new slot with the
        same index.

        In a pool, the whole process stops instead, and the supervisor replaces the process. So the abandoned handler
        does not continue to run while later tasks run.
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

    # -- ending the worker

    def _release_all(self) -> None:
        """Store all results, drop the tasks that still run, and release all claims."""
        unfinished: list[TaskClaim] = []
        for slot in self._slots:
            ended, claims = slot.take_all()
            unfinished += claims
            task = slot.current
            if task is not None and slot.drop(task):
                task._end_progress()
                unfinished.append(task.claim)
                task_log.released(task, slot.dropped_at - slot.started_at)
            try:
                self._results.settle(ended)
            except Exception as error:  # noqa: BLE001 - the results of the other slots must still be stored
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
