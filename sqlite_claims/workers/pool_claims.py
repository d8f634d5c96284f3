"""Lets the supervisor end the claims of a worker process that dies, is killed, or runs a task for too long."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from ..errors import ClaimLostError, NotFoundError
from ..model import TaskClaim, TaskState
from ..sqlite.store import SqliteClaimStore
from . import task_log
from .attempts import claim_key
from .child_config import StoreOptions
from .execute import Failure
from .log_relay import LogRelay
from .result_writer import TRANSIENT
from .scoreboard import RunningTask
from .task_log import log

# The supervisor waits at most this many seconds for the store's write lock. The wait is short because the
# process that holds the lock may be the process that the supervisor has to kill. If a write is not urgent, the
# supervisor tries the write again later. At
# the end of the run, the supervisor retries for as long as a worker process would wait.
_BUSY_TIMEOUT_S = 1.0
_RETRY_S = 0.5
_DEFAULT_BUSY_TIMEOUT_S = 10.0


class _SupervisorStore(SqliteClaimStore):
    _probe_every_us = 0  # the supervisor searches for work only when a process has died

    def lose_claims(self, claims: list[TaskClaim], why: str) -> list[TaskClaim]:
        """Record that these claims of a dead process are lost, with ``why`` as the cause. Return the claims that were
        lost.

        Without this call, the next worker that searches for work would record the losses, but not the cause.
        """
        return self._backend.record_losses(claims, why)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadWorker:
    """The record of a worker process that died without being killed by the supervisor: the process's worker id, the
    tasks that the process was running, and the cause of death."""

    worker_id: str
    running: list[RunningTask]
    why: str


class PoolClaims:
    """Ends claims of worker processes in the store. ``failed`` counts the timeouts that were stored as failures."""

    def __init__(self, path: str, options: StoreOptions, relay: LogRelay) -> None:
        self._patience_s = options.get("busy_timeout", _DEFAULT_BUSY_TIMEOUT_S)
        own_options: StoreOptions = {**options, "busy_timeout": min(self._patience_s, _BUSY_TIMEOUT_S)}
        self._store = _SupervisorStore(path, **own_options)
        self._relay = relay
        self._dead: deque[DeadWorker] = deque()
        self._retry_at = 0.0
        self.failed = 0

    @property
    def path(self) -> str:
        """The path of the store's file."""
        return self._store.path

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    # -- dead processes

    def add_dead(self, worker: DeadWorker) -> None:
        """Make the next call of ``end_claims_of_dead`` end the claims of this process."""
        self._dead.append(worker)

    def due_at(self) -> float:
        """Return the time on the monotonic clock at which ``end_claims_of_dead`` has to be called next."""
        return self._retry_at if self._dead else math.inf

    def end_claims_of_dead(self) -> None:
        """Record the losses of the tasks that dead processes were running, and release the dead processes' other
        claims.

        If the store is busy, the next call at or after ``due_at`` tries again.
        """
        while self._dead and time.monotonic() >= self._retry_at:
            worker = self._dead[0]
            try:
                self._release(worker.worker_id, worker.running)
                self._lose(worker)
                # This search for work is made only because each search also deletes the sessions of dead processes.
                self._store.find_available_tasks(worker.worker_id, 1)
            except TRANSIENT as error:
                self._warn("could not end the claims of dead worker %s, will retry: %s", worker.worker_id, error)
                self._retry_at = time.monotonic() + _RETRY_S
                return
            self._dead.popleft()

    def end_last_claims(self) -> None:
        """End the remaining claims of dead processes at the end of the run. Wait while the store is busy."""
        until = time.monotonic() + self._patience_s
        while self._dead and time.monotonic() < until:
            time.sleep(max(0.0, self._retry_at - time.monotonic()))
            self.end_claims_of_dead()
        for worker in self._dead:
            self._warn("did not end the claims of dead worker %s, the next worker will do that", worker.worker_id)

    def _lose(self, worker: DeadWorker) -> None:
        tasks = {claim_key(task.claim): task for task in worker.running}
        for claim in self._store.lose_claims([task.claim for task in worker.running], worker.why):
            with suppress(NotFoundError):
                info = self._store.get_task(claim.instance_id, claim.task_id)
                if info.state is TaskState.FAILED:
                    task = tasks[claim_key(claim)]
                    failure = Failure(info.error or worker.why, retry=False)
                    self._relay.post(task_log.failed, task, task.seconds(), failure, info)

    # -- processes that are about to be killed

    def release_claims_of(self, worker_id: str, *, except_tasks: Collection[RunningTask] = ()) -> None:
        """Release the claims of a process without counting the attempts. The claims of ``except_tasks`` are not
        released, so these claims are lost when the process is killed."""
        try:
            self._release(worker_id, except_tasks)
        except TRANSIENT as error:
            self._warn("could not release the claims of worker %s, so the claims count as lost: %s", worker_id, error)

    def fail_overdue(self, task: RunningTask, error: str) -> bool:
        """Store that the task has failed, unless the task's claim is lost. Return ``False`` if the store is busy, so
        that the caller has to try again."""
        failure = Failure(error)
        try:
            with self._store.transaction(_BUSY_TIMEOUT_S) as tx:
                tx.fail_task(task.claim, failure.error, timed_out=True)
                info = tx.get_task(task.instance_id, task.task_id)
        except ClaimLostError:
            return True
        except TRANSIENT as busy:
            self._warn("could not store the timeout of task %r: %s", task.task_id, busy)
            return False
        self.failed += 1
        self._relay.post(task_log.failed, task, task.seconds(), failure, info)
        return True

    def _release(self, worker_id: str, except_tasks: Collection[RunningTask]) -> None:
        kept = {claim_key(task.claim) for task in except_tasks}
        held = [claim for claim in self._store.list_claims(worker_id) if claim_key(claim) not in kept]
        if held:
            self._store.release_tasks(held)

    def _warn(self, text: str, *args: object) -> None:
        self._relay.post(log.warning, text, *args)
