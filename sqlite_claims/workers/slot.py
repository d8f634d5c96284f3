"""One slot of a worker: a thread that runs one task at a time, out of a small batch that it holds.

A batch is bounded in time: as many tasks as have lately fitted into ``BATCH_SECONDS``, so that one commit serves many
short tasks and nobody waits long for what somebody else has merely claimed. When a task takes longer than that, what
waits behind it is given back and what is finished is stored, by the slot after it or by ``WorkerLoop`` meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ..model import ClaimedTask, TaskClaim
from . import task_log
from .context import TaskContext, WorkerStartError
from .execute import Abort, Ended, Quit, Result, execute

if TYPE_CHECKING:
    from .worker_loop import WorkerLoop

BATCH_SECONDS = 0.05


class Slot:
    """``current``, ``waiting`` and ``done`` belong to ``lock``; whoever takes something out of them settles it."""

    def __init__(self, run: WorkerLoop, index: int) -> None:
        self._run = run
        self.index = index
        self.lock = threading.Lock()
        self.waiting: deque[ClaimedTask] = deque()
        self.current: TaskContext | None = None
        self.started = 0.0
        self.dropped_at = 0.0
        # Another slot has its place, since its handler would not end; its thread leaves when it does.
        self.replaced = False
        self.done: list[Ended] = []
        # Not the thread's own word, which comes after it has woken who waits for its end.
        self.alive = False
        self._thread = threading.Thread(target=self._work, name=f"claims-slot-{index}", daemon=True)

    def start(self) -> None:
        """Raises ``WorkerStartError`` if the system has no more threads."""
        self.alive = True
        try:
            self._thread.start()
        except RuntimeError as error:
            self.alive = False
            raise WorkerStartError(f"a thread for handlers can't be started: {error}") from error

    def _work(self) -> None:
        try:
            size = 1
            while not self.replaced and (batch := self._run.next_batch(size)):
                size = self._work_through(batch)
        except BaseException as error:  # noqa: BLE001 - it ends the run, which raises it
            self._run.abort(error)
        finally:
            self.alive = False
            self._run.wake.set()

    def _work_through(self, batch: list[ClaimedTask]) -> int:
        """Run a batch, as far as it fits; how large the next one should be."""
        with self.lock:
            self.waiting.extend(batch)  # first of all: tasks not listed here are not given back if anything raises
        kept = _apart_from_retried(batch)
        began = time.monotonic()
        if kept < len(batch):
            with self.lock:
                self.waiting.clear()
                self.waiting.extend(batch[:kept])
            self._run.release([claimed.claim for claimed in batch[kept:]])
        ran = 0
        spent = 0.0
        tells = task_log.wants_all()
        while spent < BATCH_SECONDS and (task := self._next()) is not None:
            if tells:
                task_log.started(task)
            result = execute(self._run.handler(task.kind), task, self._run.wait_for, self._run.home)
            now = time.monotonic()
            self._end(task, result, now)
            ran += 1
            spent = now - began
        self.hand_in()
        if kept < len(batch) or batch[0].task.attempt > 1 or not ran:
            return 1
        return max(1, min(2 * ran, int(BATCH_SECONDS * ran / max(spent, 1e-6))))

    def _next(self) -> TaskContext | None:
        run = self._run
        with self.lock:
            if not self.waiting or run.stopping:
                return None
            task = TaskContext(run.store, self.waiting.popleft())
            self.current = task
            self.started = started = time.monotonic()
            more = bool(self.waiting or self.done)
        if run.scoreboard is not None:
            run.scoreboard.task_started(self.index, task)
        run.expect(started + (BATCH_SECONDS if more else run.patience))
        return task

    def _end(self, task: TaskContext, result: Result, now: float) -> None:
        with self.lock:
            if not task._dropped:
                self.done.append((task._claimed, result, now - self.started))
            self.current = None
        if self._run.scoreboard is not None and not self.replaced:
            self._run.scoreboard.task_ended(self.index)
        if isinstance(result, Quit):
            self._run.stop(result.reason, 0.0, by_handler=result.by_handler)
        elif isinstance(result, Abort):
            self._run.abort(result.cause)

    # -- called by WorkerLoop, on its own thread

    def drop(self, task: TaskContext) -> bool:
        """Make the running attempt count no more: ``True`` for the one caller who did."""
        with self.lock:
            if self.current is not task or task._dropped:
                return False
            task._dropped = True
            self.dropped_at = time.monotonic()
        task._drop()
        return True

    def forget(self, claims: set[tuple[str, str, int]]) -> list[ClaimedTask]:
        """Remove waiting tasks whose claims are lost, and return them."""
        with self.lock:
            forgotten = [claimed for claimed in self.waiting if key(claimed.claim) in claims]
            if forgotten:
                self.waiting = deque(claimed for claimed in self.waiting if key(claimed.claim) not in claims)
        return forgotten

    def hand_in(self) -> None:
        """Store what is finished and give back what has not started. If the store raises, the rest of it stays here."""
        with self.lock:
            done, self.done = self.done, []
        try:
            self._run.result_writer.settle(done)
        except BaseException:
            with self.lock:
                self.done[:0] = done
            raise
        with self.lock:
            waiting = [claimed.claim for claimed in self.waiting]
            self.waiting.clear()
        self._run.release(waiting)

    def take(self) -> tuple[list[Ended], list[TaskClaim]]:
        """Take out what is finished and what has not started; the caller settles both."""
        with self.lock:
            done, waiting = self.done, [claimed.claim for claimed in self.waiting]
            self.done = []
            self.waiting.clear()
        return done, waiting

    def held(self) -> list[TaskClaim]:
        """All claims that are its concern now."""
        with self.lock:
            claims = [claimed.claim for claimed in self.waiting]
            claims += [outcome[0].claim for outcome in self.done]
            if self.current is not None and not self.current._dropped:
                claims.append(self.current.claim)
        return claims


def key(claim: TaskClaim) -> tuple[str, str, int]:
    """What tells one claim from all others, also after it was renewed."""
    return claim.instance_id, claim.task_id, claim.token


def _apart_from_retried(batch: list[ClaimedTask]) -> int:
    """How many tasks from the front of the batch may be held together.

    A task that was tried before is held alone: it may be one that kills its process, and what is held beside it would
    be lost with it each time.
    """
    if batch[0].task.attempt > 1:
        return 1
    return next((at for at, claimed in enumerate(batch) if claimed.task.attempt > 1), len(batch))
