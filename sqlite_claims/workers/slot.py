"""A slot of a worker: a thread that runs one task at a time, out of a small batch of tasks that it has claimed.

A batch holds as many tasks as have lately fitted into ``BATCH_SECONDS``. So one commit serves many short tasks, and no
task waits long in a batch while another worker could run it. If a task takes longer than that, the tasks behind it are
released and the finished results are stored: by the slot after the task, or by ``WorkerLoop`` meanwhile.
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

    ``patience_s``: a task that runs no longer than this needs no attention from the main loop. ``wake_at``: have the
    main loop awake at a time of the monotonic clock.
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


class Slot:
    """One thread and its tasks.

    ``current``, ``waiting`` and ``ended`` are guarded by ``lock``. The thread that takes tasks or results out of them
    has to settle or release their claims.
    """

    def __init__(self, services: SlotServices, index: int) -> None:
        self._services = services
        self.index = index
        self.lock = threading.Lock()
        self.waiting: deque[ClaimedTask] = deque()
        self.ended: list[EndedAttempt] = []
        self.current: TaskContext | None = None
        self.started_at = 0.0  # of the current task, on the monotonic clock
        self.dropped_at = 0.0
        # Another slot has this one's index, since the handler does not return. The thread ends when it does.
        self.replaced = False
        # Not the thread's is_alive(): it is still true when the thread wakes the main loop as its last action.
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

    # -- on the thread

    def _work(self) -> None:
        services = self._services
        try:
            size = 1
            while not self.replaced and (batch := services.tasks.next_batch(size)):
                size = self._run_batch(batch)
        except BaseException as error:  # noqa: BLE001 - it ends the run, which raises it
            services.stop_state.abort(error)
        finally:
            self.alive = False
            services.stop_state.wake.set()

    def _run_batch(self, batch: list[ClaimedTask]) -> int:
        """Run the tasks of a batch for ``BATCH_SECONDS``, and return the size of the next batch."""
        with self.lock:
            self.waiting.extend(batch)  # before anything can raise: only tasks listed here are released then
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
            task = TaskContext(services.store, self.waiting.popleft())
            self.current = task
            self.started_at = started_at = time.monotonic()
            holds_more = bool(self.waiting or self.ended)
        if services.scoreboard is not None:
            services.scoreboard.task_started(self.index, task)
        services.wake_at(started_at + (BATCH_SECONDS if holds_more else services.patience_s))
        return task

    def _run_task(self, task: TaskContext) -> float:
        """Run the task's handler, and return the time of its end."""
        services = self._services
        handler = services.handlers.find(task.kind)
        assert handler is not None, f"the store returned a task of kind {task.kind!r}, which was not requested"
        result = execute(handler, task, services.coroutines.wait_for, services.home)
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

    # -- from the thread, and from the main loop

    def flush(self) -> None:
        """Store the results and release the waiting tasks. If the store raises, they stay in the slot."""
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

    # -- from the main loop

    def drop(self, task: TaskContext) -> bool:
        """Drop the running attempt: its result no longer counts. ``True`` for the one caller that has dropped it."""
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
        """Take out the ended attempts and the claims of waiting tasks; the caller settles and releases them."""
        with self.lock:
            ended, claims = self.ended, [claimed.claim for claimed in self.waiting]
            self.ended = []
            self.waiting.clear()
        return ended, claims

    def claims(self) -> list[TaskClaim]:
        """Return the claims that the slot holds now."""
        with self.lock:
            claims = [claimed.claim for claimed in self.waiting]
            claims += [attempt.claimed.claim for attempt in self.ended]
            if self.current is not None and not self.current._dropped:
                claims.append(self.current.claim)
        return claims


def _count_held_together(batch: list[ClaimedTask]) -> int:
    """Return how many tasks from the front of the batch the slot may hold at a time.

    It holds a task that was tried before alone: such a task may kill its process, and each time the other tasks of the
    batch would be lost with it.
    """
    if batch[0].task.attempt > 1:
        return 1
    return next((index for index, claimed in enumerate(batch) if claimed.task.attempt > 1), len(batch))
