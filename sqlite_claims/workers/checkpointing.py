"""``CheckpointingRunner``: runs one instance from start to end, in this process and on the caller's thread."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from ..errors import BackendError, InvalidStateError
from ..interface import WorkerStore
from ..model import AvailableTask, ClaimedTask, Duration, InstanceInfo, InstanceState, TaskClaim, TaskState
from . import task_log
from .attempts import EndedAttempt, claim_key
from .context import TaskContext, WorkerStartError
from .execute import Abort, Failure, Quit, execute
from .forked import HomeProcess
from .idle import OPEN
from .lazy_coroutines import LazyCoroutines
from .lifespans import Lifespans
from .options import WorkerOptions, worker_options
from .registry import Handlers, HandlerTable
from .result_writer import TRANSIENT, ResultWriter
from .task_log import log

_POLL_S = 0.01
_POLL_S_MAX = 0.5
_COROUTINES_STOP_S = 1.0
# The longest time for which the runner tries to release a claim although the user presses Ctrl-C again.
_RELEASE_S_MAX = 5.0


class CheckpointingRunner:
    """Runs all tasks of one instance, for programs without a pool. The caller does not have to handle claims.

    The result of each task is saved before the next task starts. So a second call of ``run`` runs only the tasks
    that have no result yet, even after a crash. Handlers run on the caller's thread, and coroutines run on an event
    loop on a different thread. A task whose handler raises an exception is tried again according to the task's retry
    policy, and the runner waits for the retry. Other workers may use the store at the same time. The runner never runs
    a task that another worker holds.

    If an attempt takes longer than the ``timeout`` of its task, the attempt has failed, and the context's ``cancelled``
    is set. The runner continues when the handler returns, and drops the handler's result.

    If a handler raises ``StopWorker`` or ``KeyboardInterrupt``, the runner releases the task without counting the
    attempt, and raises the exception to the caller.

    Args:
        store: the store that contains the instance.
        handlers: see ``PooledWorker``.
        worker_id: the name under which tasks are claimed. Default: a new name.
        claim_ttl: the lease of a claim, in seconds or as a ``timedelta``. ``None`` means a lease without an end.
            Default: 600 s.
        heartbeat_interval: the time between two renewals of a claim. Default: a third of ``claim_ttl``.
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
        """Run the instance's tasks as they become ready, in order of priority, until the instance has ended.

        The call waits for retries, for tasks that other workers hold, and for the end of a pause. If the instance has
        no tasks, the call returns at once.

        Args:
            instance_id: the instance to run.

        Returns:
            The instance in its final state.

        Raises:
            NotFoundError: there is no such instance.
            InvalidStateError: this runner has no handler for a task's kind, and no other worker is alive that could run
                the task.
        """
        self._store.get_instance(instance_id)
        with _AttemptRunner(self._store, self._handlers, self._options) as attempts:
            pause_s = _POLL_S
            while True:
                if sum(attempts.attempt(instance_id, task_id) for task_id in self._candidates(instance_id)):
                    pause_s = _POLL_S
                    continue
                info = self._store.get_instance(instance_id)
                can_go_on = info.state in (InstanceState.IN_PROGRESS, InstanceState.PAUSED)
                if not can_go_on or not any(info.counts[state] for state in OPEN):
                    return info
                self._refuse_if_stuck(info)
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _POLL_S_MAX)

    def _candidates(self, instance_id: str) -> list[str]:
        # The list includes claimed tasks, because claim_task can claim a task if the worker that holds the task is
        # dead.
        tasks = self._store.list_tasks(
            instance_id, states=(TaskState.READY, TaskState.CLAIMED), kinds=self._handlers.kinds
        )
        return [task.task_id for task in sorted(tasks, key=lambda task: task.priority)]

    def _refuse_if_stuck(self, info: InstanceInfo) -> None:
        if info.state is InstanceState.PAUSED or info.counts[TaskState.CLAIMED] or info.counts[TaskState.SCHEDULED]:
            return
        ready = self._store.list_tasks(info.instance_id, states=(TaskState.READY,))
        unhandled = next((task for task in ready if self._handlers.find(task.kind) is None), None)
        own_id = self._options.worker_id
        if unhandled is not None and not any(w.alive and w.worker_id != own_id for w in self._store.list_workers()):
            raise InvalidStateError(
                f"task {unhandled.task_id!r} of instance {info.instance_id!r} is of kind {unhandled.kind!r}, "
                "which has no handler here, and no other worker is alive to run it"
            )


class _AttemptRunner:
    """Claims and runs one task at a time, while another thread renews the claim of the current task."""

    def __init__(self, store: WorkerStore, handlers: HandlerTable, options: WorkerOptions) -> None:
        self._store = store
        self._handlers = handlers
        self._options = options
        self._results = ResultWriter(store, gives_up=lambda: False)
        self._lock = threading.Lock()
        self._current: TaskContext | None = None
        self._started_at = 0.0
        self._is_over = False
        self._wake = threading.Event()  # set at the end, and if a task with a timeout starts
        self._home = HomeProcess()
        self._coroutines = LazyCoroutines(self._home)
        self._lifespans = Lifespans(handlers.lifespans, self._coroutines, self._home)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._coroutines.stop, _COROUTINES_STOP_S)
            stack.enter_context(self._lifespans)
            self._start()
            self._stack = stack.pop_all()
        return self

    def _start(self) -> None:
        self._session = self._store.open_session(self._options.worker_id)
        self._keeper = threading.Thread(target=self._keep_claim, name="claims-runner", daemon=True)
        try:
            self._keeper.start()
        except RuntimeError as error:
            self._session.close()
            raise WorkerStartError(f"cannot start the thread that renews claims: {error}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._is_over = True
            self._wake.set()
            self._keeper.join()
            self._session.close()
        finally:
            self._stack.__exit__(kind, error, trace)

    def attempt(self, instance_id: str, task_id: str) -> bool:
        """Run the task and store its result. Return ``False`` if the task could not be claimed."""
        options = self._options
        claim = self._store.claim_task(
            instance_id, task_id, options.worker_id, options.claim_ttl, session=self._session
        )
        if claim is None:
            return False
        try:
            self._run(claim)
        except BaseException:
            self._release(claim)
            raise
        return True

    def _release(self, claim: TaskClaim) -> None:
        """Release the claim, unless the claim is settled already. A second Ctrl-C does not prevent the release, because
        otherwise the task would count a loss."""
        until = time.monotonic() + _RELEASE_S_MAX
        while True:
            try:
                with suppress(BackendError):
                    self._store.release_tasks([claim])
                return
            except KeyboardInterrupt:
                if time.monotonic() >= until:
                    raise

    def _run(self, claim: TaskClaim) -> None:
        info = self._store.get_task(claim.instance_id, claim.task_id)
        handler = self._handlers.find(info.kind)
        assert handler is not None
        available = AvailableTask(
            info.instance_id,
            info.task_id,
            info.input,
            info.workflow_definition_hash,
            info.kind,
            info.priority,
            info.tags,
            info.attempts,
            metadata=info.metadata,
            timeout=info.timeout,
        )
        task = TaskContext(self._store, ClaimedTask(available, claim))
        with self._lock:
            self._current = task
            self._started_at = started_at = time.monotonic()
        if task.timeout is not None:
            self._wake.set()
        task_log.started(task)
        try:
            result = execute(handler, task, self._coroutines.wait_for, self._home)
            task._end_progress()
        finally:
            with self._lock:
                self._current = None
        if not task._dropped:
            self._results.settle([EndedAttempt(task._claimed, result, time.monotonic() - started_at)])
        if isinstance(result, (Quit, Abort)):
            raise result.cause

    # -- called on the thread that renews claims

    def _keep_claim(self) -> None:
        options = self._options
        poll_s = min(options.poll_interval, options.heartbeat_interval or options.poll_interval)
        self._renew_at = time.monotonic() + (options.heartbeat_interval or 0.0)
        pause_s = poll_s
        while True:
            self._wake.wait(pause_s)
            self._wake.clear()
            if self._is_over:
                return
            pause_s = poll_s
            with self._lock:
                task, started_at = self._current, self._started_at
            if task is None or task._dropped:
                continue
            try:
                if task.timeout is not None:
                    pause_s = min(poll_s, started_at + task.timeout - time.monotonic())
                    if pause_s <= 0:
                        self._time_out(task, task.timeout)
                        pause_s = poll_s
                        continue
                self._check_claim(task)
            except TRANSIENT as error:
                log.warning("could not renew a claim, will retry: %s", error)
            except BackendError as error:
                log.error("stopped renewing the claim on task %r: %s", task.task_id, error)
                return

    def _check_claim(self, task: TaskContext) -> None:
        """Drop the task if its claim is lost. Renew the claim if the renewal is due."""
        options = self._options
        held_keys = {claim_key(claim) for claim in self._store.list_claims(options.worker_id)}
        if claim_key(task.claim) not in held_keys:
            self._drop(task)
        elif options.heartbeat_interval is not None and time.monotonic() >= self._renew_at:
            renewed, _ = self._store.renew_task_claims([task.claim], options.claim_ttl)
            self._renew_at = time.monotonic() + options.heartbeat_interval
            for claim in renewed:
                task.claim = claim

    def _drop(self, task: TaskContext) -> None:
        if self._mark_dropped(task):
            task_log.lost(task, time.monotonic() - self._started_at)
            task._drop()

    def _time_out(self, task: TaskContext, timeout_s: float) -> None:
        if self._mark_dropped(task):
            task._drop()
            task._end_progress()
            failure = Failure(f"timed out after {timeout_s:g} s", timed_out=True)
            self._results.settle([EndedAttempt(task._claimed, failure, time.monotonic() - self._started_at)])

    def _mark_dropped(self, task: TaskContext) -> bool:
        """Let the result of the task be ignored. Return ``False`` if the handler has ended already."""
        with self._lock:
            if self._current is not task:
                return False
            task._dropped = True
        return True
