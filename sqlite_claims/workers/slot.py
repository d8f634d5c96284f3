"""A slot of a worker. A slot is a thread that claims small batches of tasks and runs one task at a time.

The size of a batch is the number of tasks that the slot recently ran within ``BATCH_SECONDS``. So one commit covers
many short tasks, and no task waits long in a batch while a different worker could run it. If a task takes longer than
``BATCH_SECONDS``, the waiting tasks of the batch are released, and the finished results are stored. ``WorkerLoop`` does
this while the long task runs, or the slot does this when the long task has ended.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..interface import WorkerStore
from ..model import ClaimedTask, TaskClaim
from . import task_log
from .attempts import ClaimKey, EndedAttempt, claim_key
from .context import TaskContext, WorkerStartError
from .execute import Abort, Quit, Result, execute
from .forked import HomeProcess
from .lazy_coroutines import LazyCoroutines
from .registry import HandlerTable
from .result_writer import ResultWriter
from .scoreboard import Scoreboard
from .stop_state import StopState
from .task_source import TaskSource

BATCH_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotServices:
    """The parts of a worker that its slots share.

    ``patience_s``: the running time in seconds after which the main loop has to check a task. ``wake_at``: a
    function that makes the main loop wake up at a time on the monotonic clock. ``on_timeout``: a function that is
    called when a task with its own timeout starts, and returns when the main loop has to check this task.
    """

    store: WorkerStore
    handlers: HandlerTable
    tasks: TaskSource
    results: ResultWriter
    stop_state: StopState
    coroutines: LazyCoroutines
    home: HomeProcess
    scoreboard: Scoreboard | None
    patience_s: float
    wake_at: Callable[[float], None]
    on_timeout: Callable[[float], float]


class Slot:
    """One thread of a worker, and the claimed tasks of this thread.

    ``lock`` guards ``current``, ``waiting`` and ``ended``. A thread that removes tasks or results from the slot has to
    settle or release their claims.
    """

    def __init__(self, services: SlotServices, index: int) -> None:
        self._services = services
        self.index = index
        self.lock = threading.Lock()
        self.waiting: deque[ClaimedTask] = deque()
        self.ended: list[EndedAttempt] = []
        self.current: TaskContext | None = None
        self.started_at = 0.0  # start time of the current task, on the monotonic clock
        self.dropped_at = 0.0
        # True if a new slot has taken this slot's index, because a handler of this slot does not return. The thread of
        # this slot ends when the handler returns.
        self.replaced = False
        # True until the thread has done its work. Thread.is_alive() cannot be used instead, because the thread's last
        # action wakes the main loop, and at that time is_alive() is still True.
        self.alive = False
        self._thread = threading.Thread(target=self._work, name=f"claims-slot-{index}", daemon=True)

    def start(self) -> None:
        """Start the thread. Raises ``WorkerStartError`` if the system has no more threads."""
        self.alive = True
        try:
            self._thread.start()
        except RuntimeError as error:
            self.alive = False
            raise WorkerStartError(f"cannot start a thread for handlers: {error}") from error

    # -- called on the slot's thread

    def _work(self) -> None:
        services = self._services
        try:
            size = 1
            while not self.replaced and (batch := services.tasks.next_batch(size)):
                size = self._run_batch(batch)
        except BaseException as error:  # noqa: BLE001 - the error ends the run, and the main loop raises the error
            services.stop_state.abort(error)
        finally:
            self.alive = False
            services.stop_state.wake.set()

    def _run_batch(self, batch: list[ClaimedTask]) -> int:
        """Run the tasks of a batch for ``BATCH_SECONDS``, and return the size of the next batch."""
        with self.lock:
            self.waiting.extend(batch)  # first, because after an error only these tasks are released
        began = time.monotonic()
        held = _count_held_together(batch)
        if held < len(batch):
            with self.lock:
                self.waiting.clear()
                self.waiting.extend(batch[:held])
            self._release([claimed.claim for claimed in batch[held:]])
        ran = 0
        spent = 0.0
        logs_all = task_log.wants_all()
        while spent < BATCH_SECONDS and (task := self._start_next()) is not None:
            if logs_all:
                task_log.started(task)
            ended_at = self._run_task(task)
            ran += 1
            spent = ended_at - began
        self.flush()
        if held < len(batch) or batch[0].task.attempt > 1 or not ran:
            return 1
        return max(1, min(2 * ran, int(BATCH_SECONDS * ran / max(spent, 1e-6))))

    def _start_next(self) -> TaskContext | None:
        services = self._services
        with self.lock:
            if not self.waiting or services.stop_state.requested:
                return None
            claimed = self.waiting.popleft()
            self.current = task = TaskContext(services.store, claimed)
            self.started_at = started_at = time.monotonic()
            holds_more = bool(self.waiting or self.ended)
        if services.scoreboard is not None:
            services.scoreboard.task_started(self.index, task)
        timeout_s = claimed.task.timeout
        patience_s = services.patience_s if timeout_s is None else services.on_timeout(timeout_s)
        services.wake_at(started_at + (BATCH_SECONDS if holds_more else patience_s))
        return task

    def _run_task(self, task: TaskContext) -> float:
        """Run the task's handler, and return the time when the handler ended."""
        services = self._services
        handler = services.handlers.find(task.kind)
        assert handler is not None, f"the store returned a task of kind {task.kind!r}, which was not requested"
        result = execute(handler, task, services.coroutines.wait_for, services.home)
        if task._reports is not None:
            task._end_progress()
        now = time.monotonic()
        with self.lock:
            if not task._dropped:
                self.ended.append(EndedAttempt(task._claimed, result, now - self.started_at))
            self.current = None
        if services.scoreboard is not None and not self.replaced:
            services.scoreboard.task_ended(self.index)
        if isinstance(result, (Quit, Abort)):
            self._stop_worker(result)
        return now

    def _stop_worker(self, result: Result) -> None:
        if isinstance(result, Quit):
            self._services.stop_state.stop(result.reason, 0.0, by_handler=result.by_handler)
        elif isinstance(result, Abort):
            self._services.stop_state.abort(result.cause)

    def _release(self, claims: list[TaskClaim]) -> None:
        self._services.results.release(claims)
        self._services.tasks.put_back(len(claims))

    # -- called by the slot's thread and by the main loop

    def flush(self) -> None:
        """Store the results and release the waiting tasks. If the store raises an exception, results and tasks that are
        not yet stored or released stay in the slot."""
        with self.lock:
            ended, self.ended = self.ended, []
        try:
            self._services.results.settle(ended)
        except BaseException:
            with self.lock:
                self.ended[:0] = ended
            raise
        with self.lock:
            claims = [claimed.claim for claimed in self.waiting]
            self.waiting.clear()
        self._release(claims)

    # -- called by the main loop

    def drop(self, task: TaskContext) -> bool:
        """Drop the running attempt, so that the attempt's result will be ignored. Return ``True`` if this call dropped
        the attempt, and ``False`` if the attempt was dropped earlier or has ended."""
        with self.lock:
            if self.current is not task or task._dropped:
                return False
            task._dropped = True
            self.dropped_at = time.monotonic()
        task._drop()
        return True

    def remove_waiting(self, lost_keys: set[ClaimKey]) -> list[ClaimedTask]:
        """Remove the waiting tasks whose claims are lost, and return them."""
        with self.lock:
            removed = [claimed for claimed in self.waiting if claim_key(claimed.claim) in lost_keys]
            if removed:
                self.waiting = deque(claimed for claimed in self.waiting if claim_key(claimed.claim) not in lost_keys)
        return removed

    def take_all(self) -> tuple[list[EndedAttempt], list[TaskClaim]]:
        """Remove and return the ended attempts and the claims of waiting tasks. The caller has to settle the attempts
        and release the claims."""
        with self.lock:
            ended, claims = self.ended, [claimed.claim for claimed in self.waiting]
            self.ended = []
            self.waiting.clear()
        return ended, claims

    def claims(self) -> list[TaskClaim]:
        """Return the claims of all tasks that the slot holds now."""
        with self.lock:
            claims = [claimed.claim for claimed in self.waiting]
            claims += [attempt.claimed.claim for attempt in self.ended]
            if self.current is not None and not self.current._dropped:
                claims.append(self.current.claim)
        return claims


def _count_held_together(batch: list[ClaimedTask]) -> int:
    """Return the number of tasks from the front of the batch that the slot may hold at the same time.

    If a task was tried before, the slot holds no second task at the same time. The reason is that such a task may kill
    the process, and then all tasks that the slot holds would be lost.
    """
    if batch[0].task.attempt > 1:
        return 1
    return next((index for index, claimed in enumerate(batch) if claimed.task.attempt > 1), len(batch))
