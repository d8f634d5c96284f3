"""The main loop of a worker: starts its slots, keeps their claims, and ends them.

The slots (threads) claim tasks and run handlers. ``WorkerLoop``, on the thread that calls it, does everything that a
slot cannot do while a handler runs. It renews claims, all of them in one transaction. It notices lost claims and tasks
that have timed out. It stores the results that wait behind a long task. At the end it gives back all claims.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..model import ClaimedTask, TaskClaim
from ..sqlite.doorbell import threads_are_greenlets
from . import task_log
from .context import Reason, RunSummary, TaskContext, WorkerStartError
from .execute import Failure, Outcome
from .forked import HomeProcess
from .idle import IdleDetector
from .options import WorkerOptions, WorkerStore
from .registry import Handler, HandlerTable
from .result_writer import TRANSIENT, ResultWriter, Scoreboard
from .slot import BATCH_SECONDS, Slot, key
from .task_log import log

if TYPE_CHECKING:
    from .coroutines import Coroutines

# A stop is noticed this soon by a slot that waits for work. (Half of it would be twice the processor time of sleeping.)
_NAP_S_MAX = 0.5
# How long a handler whose attempt was dropped may take to notice before its thread is left to itself.
_LEAVE_AFTER_S = 1.0


class WorkerLoop:
    """Call it once: it blocks until the run is over."""

    def __init__(
        self,
        store: WorkerStore,
        handlers: HandlerTable,
        options: WorkerOptions,
        *,
        until_idle: bool = False,
        scoreboard: Scoreboard | None = None,
        max_tasks: int | None = None,
        worn_out: Callable[[], bool] = lambda: False,
    ) -> None:
        """``max_tasks``, ``worn_out``: it stops after so many, or when that says so after a task."""
        self.store = store
        self.options = options
        self.scoreboard = scoreboard
        self.result_writer = ResultWriter(store, lambda: time.monotonic() >= self._deadline, scoreboard)
        self.home = HomeProcess()
        self._coroutines: Coroutines | None = None
        self.wake = threading.Event()
        self.stopping = False
        self.by_handler = False
        # A task that runs no longer than this needs no attention.
        spans = (options.poll_interval, options.task_timeout, options.heartbeat_interval)
        self.patience = min(span for span in spans if span is not None)
        self._handlers = handlers
        self._until_idle = until_idle
        self._idle_detector = IdleDetector(store, tags=options.tags, kinds=handlers.kinds)
        self._left = max_tasks
        self._worn_out = worn_out
        self._worked = False
        self._session: Any = None
        # One slot at a time asks the store, so that many idle slots cost what one does.
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._reason: Reason = "stopped"
        self._error: BaseException | None = None
        self._deadline = math.inf
        self.left_behind = 0
        self._given_back = False
        self._tend_at = self._renew_at = math.inf
        self._watched_at = -math.inf
        self._slots = [Slot(self, index) for index in range(options.concurrency)]

    def __call__(self) -> RunSummary:
        """Run until idle or stopped. Raises what made the run impossible, after giving back what it held."""
        with self.store.open_session(self.options.worker_id) as self._session:
            try:
                for slot in self._slots:
                    slot.start()
            except WorkerStartError as error:
                self.abort(error)
            while not self._over():
                try:
                    pause = self._tend()
                except BaseException as error:  # noqa: BLE001 - raised below, when the slots have ended
                    self.abort(error)
                    pause = BATCH_SECONDS
                self.wake.wait(pause)
                self.wake.clear()
            try:
                self._give_back()  # what slots held that an error has ended
            except BaseException as error:  # noqa: BLE001 - as above
                self.abort(error)
        if self._coroutines is not None:
            self._coroutines.stop(_LEAVE_AFTER_S)
        if self._error is not None:
            raise self._error
        return RunSummary(
            self._reason, self.result_writer.completed, self.result_writer.failed, self.result_writer.lost
        )

    def stop(self, reason: Reason, timeout: float | None = None, *, by_handler: bool = False) -> None:
        """Claim no more. Running tasks may finish within ``timeout`` seconds (``None``: however long they take); what
        is left is given back. A later call can only shorten that."""
        now = time.monotonic()
        with self._lock:
            # A pool hears of a handler that ends it also from a process that was ending anyway.
            if not self.stopping or (by_handler and self.scoreboard is not None):
                self.stopping = True
                self.by_handler = by_handler
                self._reason = reason
            if by_handler:
                timeout = self.options.shutdown_timeout
            if timeout is not None:
                self._deadline = min(self._deadline, now + timeout)
        self.wake.set()

    def abort(self, error: BaseException) -> None:
        """Something went wrong that no retry heals: stop at once and raise it."""
        with self._lock:
            self._error = self._error or error
        self.stop("stopped", 0.0)

    # -- for the slots

    def handler(self, kind: str) -> Handler:
        """The handler for a task that was claimed."""
        handler = self._handlers.find(kind)
        assert handler is not None, f"the store gave a task of kind {kind!r}, which was not asked for"
        return handler

    def wait_for(self, awaitable: Awaitable[Any], task: TaskContext) -> Outcome:
        """Run a handler's coroutine to its end, on the one event loop of the run: its error or its value."""
        if self._coroutines is None:
            from .coroutines import Coroutines

            with self._lock:
                self._coroutines = self._coroutines or Coroutines(self.home)
        return self._coroutines.wait_for(awaitable, task)

    def expect(self, at: float) -> None:
        """Be awake at that time of the monotonic clock."""
        if at < self._tend_at:
            self.wake.set()

    def next_batch(self, size: int) -> list[ClaimedTask]:
        """Claim up to ``size`` tasks, waiting for some; empty when the run is ending."""
        options, kinds = self.options, self._handlers.kinds
        nap = 0.01
        with self._turn:
            if threads_are_greenlets():
                time.sleep(0)  # handlers that never wait would keep us from hearing a signal
            while not self.stopping:
                if self._left == 0 or (self._worked and self._worn_out()):
                    self.stop("stopped")
                    break
                limit = min(size, options.batch_size, self._left or size)
                try:
                    batch = self.store.claim_available_tasks(
                        options.worker_id,
                        limit,
                        options.claim_ttl,
                        tags=options.tags,
                        kinds=kinds,
                        session=self._session,
                    )
                    if batch:
                        self._worked = True
                        self._spend(len(batch))
                        return batch
                    if self._until_idle and self._idle_detector.is_idle():
                        self.stop("idle")
                        break
                    # Another's claim may end without any new work to be woken by.
                    nap = min(2 * nap, _NAP_S_MAX, options.poll_interval) if self._until_idle else _NAP_S_MAX
                    span = min(nap, options.poll_interval)
                    while not self.store.wait_for_tasks(span, tags=options.tags, kinds=kinds):
                        if self._until_idle or self.stopping:
                            break
                except TRANSIENT as error:
                    log.warning("looking for work failed, trying again: %s", error)
                    time.sleep(_NAP_S_MAX)
        return []

    def _spend(self, tasks: int) -> None:
        if self._left is not None:
            with self._lock:
                self._left -= tasks

    def release(self, claims: list[TaskClaim]) -> None:
        """Give back what was not started."""
        self.result_writer.release(claims)
        self._spend(-len(claims))

    # -- looking after what takes long

    def _tend(self) -> float | None:
        """Do what is due; seconds until something is, ``None``: until woken."""
        self._tend_at = math.inf  # a slot that starts a task while we look wakes us again
        now = time.monotonic()
        due = math.inf
        if self.stopping:
            if now >= self._deadline and not self._given_back:
                self._given_back = True
                self._give_back()
            due = self._deadline if self._deadline > now else math.inf
        for slot in self._slots:
            due = min(due, self._tend_slot(slot, now))
        due = min(due, self._keep_claims(now))
        self._tend_at = due
        return None if due == math.inf else max(0.0, due - time.monotonic())

    def _tend_slot(self, slot: Slot, now: float) -> float:
        with slot.lock:
            task, started, more = slot.current, slot.started, bool(slot.waiting or slot.done)
        if task is None:
            return now + BATCH_SECONDS if more else math.inf
        due = math.inf
        if more:
            due = started + BATCH_SECONDS
            if now >= due:
                slot.hand_in()
                due = math.inf
        timeout = self.options.task_timeout
        if timeout is not None and not task._dropped:
            if now < started + timeout:
                return min(due, started + timeout)
            if slot.drop(task):
                self.result_writer.settle([(task._claimed, Failure(f"timed out after {timeout:g} s"), now - started)])
        if task._dropped:
            leave_at = slot.dropped_at + _LEAVE_AFTER_S
            if time.monotonic() < leave_at:
                return min(due, leave_at)
            if not self.stopping:
                self._replace(slot, task)
        return due

    def _replace(self, slot: Slot, task: TaskContext) -> None:
        """A handler that ignores its end must not cost the worker a slot: its thread is left to itself. In a pool its
        process ends, to be replaced: so the handler does not run on beside later tasks."""
        with slot.lock:
            if slot.current is not task:
                return
            slot.replaced = self.scoreboard is None
        log.warning("the handler of task %r did not return when it was cancelled", task.task_id)
        if self.scoreboard is not None:
            self.stop("stopped", self.options.shutdown_timeout)
            return
        if self._coroutines is not None and task._on_drop is not None:
            self._coroutines.leave_behind()
        self._slots[slot.index] = Slot(self, slot.index)
        self._slots[slot.index].start()

    def _keep_claims(self, now: float) -> float:
        held = [claim for slot in self._slots for claim in slot.held()]
        if not held:
            self._renew_at = math.inf
            return math.inf
        interval = self.options.heartbeat_interval
        if interval is not None:
            if self._renew_at == math.inf:
                self._renew_at = now + interval
            elif now >= self._renew_at:
                self._renew_at = now + (interval if self._renew(held) else min(interval, 1.0))
        running = self._running()
        if not running:
            return self._renew_at
        poll = self.options.poll_interval
        watch_at = max(min(started for _, _, started in running), self._watched_at) + poll
        if now >= watch_at:
            self._watch([(slot, task) for slot, task, _ in running])
            self._watched_at = now
            watch_at = now + poll
        return min(watch_at, self._renew_at)

    def _running(self) -> list[tuple[Slot, TaskContext, float]]:
        found = []
        for slot in self._slots:
            with slot.lock:
                if slot.current is not None and not slot.current._dropped:
                    found.append((slot, slot.current, slot.started))
        return found

    def _renew(self, held: list[TaskClaim]) -> bool:
        try:
            renewed, lost = self.store.renew_task_claims(held, self.options.claim_ttl)
        except TRANSIENT as error:
            log.warning("renewing claims failed, trying again: %s", error)
            return False
        latest = {key(claim): claim for claim in renewed}
        for _, task, _ in self._running():
            task.claim = latest.get(key(task.claim), task.claim)
        self._lose(claim for claim in lost if not self.result_writer.is_done_by_handler(claim))
        return True

    def _watch(self, running: list[tuple[Slot, TaskContext]]) -> None:
        """A cancelled instance or a claim taken over shows long before a renewal would tell."""
        try:
            still = {key(claim) for claim in self.store.list_claims(self.options.worker_id)}
            gone = [task.claim for _, task in running if key(task.claim) not in still]
            self._lose(claim for claim in gone if not self.result_writer.is_done_by_handler(claim))
        except TRANSIENT as error:
            log.warning("checking claims failed, trying again: %s", error)

    def _lose(self, claims: Iterable[TaskClaim]) -> None:
        lost = {key(claim) for claim in claims}
        if not lost:
            return
        for slot in self._slots:
            forgotten = slot.forget(lost)
            self.result_writer.count(lost=len(forgotten))
            for claimed in forgotten:
                task_log.lost(TaskContext(self.store, claimed), 0.0)
            task = slot.current
            if task is not None and key(task.claim) in lost and slot.drop(task):
                self.result_writer.count(lost=1)
                task_log.lost(task, slot.dropped_at - slot.started)

    # -- the end

    def _give_back(self) -> None:
        """The time to finish is over: give running tasks back; their results will be dropped."""
        left = []
        for slot in self._slots:
            done, waiting = slot.take()
            task = slot.current
            if task is not None and slot.drop(task):
                waiting.append(task.claim)
                task_log.given_back(task, slot.dropped_at - slot.started)
            left += waiting
            try:
                self.result_writer.settle(done)
            except Exception as error:  # noqa: BLE001 - the others must not pay for it
                log.error("results were not stored: %s", error)
        self.release(left)

    def _over(self) -> bool:
        if not self.stopping:
            return False
        busy = [slot for slot in self._slots if slot.alive]
        if not busy:
            return True
        for slot in busy:
            task = slot.current
            if task is None or not task._dropped or time.monotonic() < slot.dropped_at + _LEAVE_AFTER_S:
                return False
        self.left_behind = len(busy)
        log.warning("%d handlers did not return when they were cancelled", len(busy))
        return True
