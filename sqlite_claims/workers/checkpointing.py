"""``CheckpointingRunner``: one instance from start to end, in this process and on the caller's thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from ..errors import BackendError, InvalidStateError
from ..model import AvailableTask, ClaimedTask, Duration, InstanceInfo, InstanceState, TaskClaim, TaskState
from . import task_log
from .context import TaskContext, WorkerStartError
from .execute import Abort, Outcome, Quit, execute
from .forked import HomeProcess
from .idle import OPEN
from .options import WorkerOptions, WorkerStore, worker_options
from .registry import Handlers, HandlerTable
from .result_writer import TRANSIENT, ResultWriter
from .slot import key
from .task_log import log

if TYPE_CHECKING:
    from .coroutines import Coroutines

_PAUSE_S = 0.01
_PAUSE_S_MAX = 0.5


class CheckpointingRunner:
    """Runs one instance, for programs without a pool; its caller handles no claims.

    Each result is saved before the next task starts, so that a second call, after a crash too, goes on where the first
    stopped. Handlers are those of ``PooledWorker``; they run on the caller's thread, coroutines on an event loop beside
    it. Errors follow each task's retry policy, waiting here. ``StopWorker`` and ``KeyboardInterrupt`` pass through,
    after the task was given back. Safe beside workers: it never runs what one of them holds.
    """

    def __init__(
        self,
        store: WorkerStore,
        handlers: Handlers,
        *,
        worker_id: str | None = None,
        claim_ttl: Duration | None = 600.0,
        heartbeat_interval: Duration | None = None,
    ) -> None:
        self._store = store
        self._handlers = HandlerTable(handlers)
        self._options = worker_options(worker_id=worker_id, claim_ttl=claim_ttl, heartbeat_interval=heartbeat_interval)

    def run(self, instance_id: str) -> InstanceInfo:
        """Run its tasks as they become ready, by priority, until it has ended; the instance as it is then.

        Waits for retries, for tasks that others hold, and for the end of a pause. An instance without tasks comes back
        at once. Raises ``NotFoundError``, and ``InvalidStateError`` where a task has no handler here and no worker is
        there that could run it.
        """
        self._store.get_instance(instance_id)
        with _Attempts(self._store, self._handlers, self._options) as attempts:
            pause = _PAUSE_S
            while True:
                if sum(attempts.make(instance_id, task_id) for task_id in self._candidates(instance_id)):
                    pause = _PAUSE_S
                    continue
                info = self._store.get_instance(instance_id)
                going_on = info.state in (InstanceState.IN_PROGRESS, InstanceState.PAUSED)
                if not going_on or not any(info.counts[state] for state in OPEN):
                    return info
                self._refuse_if_stuck(info)
                time.sleep(pause)
                pause = min(2 * pause, _PAUSE_S_MAX)

    def _candidates(self, instance_id: str) -> list[str]:
        # A claimed one, too: its holder may be dead, as claim_task finds out.
        tasks = self._store.list_tasks(
            instance_id, states=(TaskState.READY, TaskState.CLAIMED), kinds=self._handlers.kinds
        )
        return [name for _, name in sorted(((task.priority, task.task_id) for task in tasks), key=lambda task: task[0])]

    def _refuse_if_stuck(self, info: InstanceInfo) -> None:
        if info.state is InstanceState.PAUSED or info.counts[TaskState.CLAIMED] or info.counts[TaskState.SCHEDULED]:
            return
        ready = self._store.list_tasks(info.instance_id, states=(TaskState.READY,))
        orphan = next((task for task in ready if self._handlers.find(task.kind) is None), None)
        mine = self._options.worker_id
        if orphan is not None and not any(w.alive and w.worker_id != mine for w in self._store.list_workers()):
            raise InvalidStateError(
                f"task {orphan.task_id!r} of instance {info.instance_id!r} is of kind {orphan.kind!r}, "
                "which has no handler here, and no worker is there to run it"
            )


class _Attempts:
    """Makes attempts, one at a time, and keeps the claim of the one under way from a thread."""

    def __init__(self, store: WorkerStore, handlers: HandlerTable, options: WorkerOptions) -> None:
        self._store = store
        self._handlers = handlers
        self._options = options
        self._result_writer = ResultWriter(store, lambda: False)
        self._lock = threading.Lock()
        self._task: TaskContext | None = None
        self._over = threading.Event()
        self._home = HomeProcess()
        self._coroutines: Coroutines | None = None

    def __enter__(self) -> Self:
        self._session = self._store.open_session(self._options.worker_id)
        self._keeper = threading.Thread(target=self._keep, name="claims-runner", daemon=True)
        try:
            self._keeper.start()
        except RuntimeError as error:
            self._session.close()
            raise WorkerStartError(f"the thread that renews claims can't be started: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._keeper.join()
        if self._coroutines is not None:
            self._coroutines.stop(1.0)
        self._session.close()

    def make(self, instance_id: str, task_id: str) -> bool:
        """Run the task and store what came of it; ``False`` where it could not be claimed."""
        options = self._options
        claim = self._store.claim_task(
            instance_id, task_id, options.worker_id, options.claim_ttl, session=self._session
        )
        if claim is None:
            return False
        try:
            self._run(claim)
        except BaseException:
            with suppress(BackendError):
                self._store.release_tasks([claim])  # already settled: then that changes nothing
            raise
        return True

    def _run(self, claim: TaskClaim) -> None:
        info = self._store.get_task(claim.instance_id, claim.task_id)
        handler = self._handlers.find(info.kind)
        assert handler is not None
        found = AvailableTask(
            info.instance_id,
            info.task_id,
            info.input,
            info.workflow_definition_hash,
            info.kind,
            info.priority,
            info.tags,
            info.attempts,
        )
        task = TaskContext(self._store, ClaimedTask(found, claim))
        with self._lock:
            self._task = task
            self._started = started = time.monotonic()
        task_log.started(task)
        try:
            result = execute(handler, task, self._wait_for, self._home)
        finally:
            with self._lock:
                self._task = None
        if not task._dropped:
            self._result_writer.settle([(task._claimed, result, time.monotonic() - started)])
        if isinstance(result, (Quit, Abort)):
            raise result.cause

    def _wait_for(self, awaitable: Awaitable[Any], task: TaskContext) -> Outcome:
        if self._coroutines is None:
            from .coroutines import Coroutines

            self._coroutines = Coroutines(self._home)
        return self._coroutines.wait_for(awaitable, task)

    def _keep(self) -> None:
        options = self._options
        interval = options.heartbeat_interval
        renew_at = time.monotonic() + (interval or 0.0)
        while not self._over.wait(min(options.poll_interval, interval or options.poll_interval)):
            with self._lock:
                task = self._task
            if task is None:
                continue
            try:
                held = key(task.claim) in {key(claim) for claim in self._store.list_claims(options.worker_id)}
                if held and interval is not None and time.monotonic() >= renew_at:
                    renewed, _ = self._store.renew_task_claims([task.claim], options.claim_ttl)
                    renew_at = time.monotonic() + interval
                    for claim in renewed:
                        task.claim = claim
            except TRANSIENT as error:
                log.warning("renewing a claim failed, trying again: %s", error)
                continue
            except BackendError as error:
                log.error("the claim on task %r can't be kept: %s", task.task_id, error)
                return
            with self._lock:
                lost = not held and self._task is task
                task._dropped = task._dropped or lost
            if lost:
                task_log.lost(task, time.monotonic() - self._started)
                task._drop()
