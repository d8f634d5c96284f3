"""``PooledWorker``: a worker that runs handlers in this process."""

from __future__ import annotations

from collections.abc import Collection

from ..interface import WorkerStore
from ..model import Duration
from .context import RunSummary
from .handle import WorkerHandle, run_to_end
from .options import worker_options
from .registry import Handlers, HandlerTable
from .worker_loop import WorkerLoop


class PooledWorker:
    """Claims tasks and runs their handlers on threads of this process. Any number of workers may share a store.

    A handler takes a ``TaskContext``. The handler's result or exception determines how the task is settled:

    * ``bytes`` or ``None``: the task is completed. If the result has a different type, the task fails permanently.
    * ``FailTask``: the task fails permanently.
    * ``SnoozeTask``: the task is released without counting the attempt, and can be claimed again later.
    * ``StopWorker`` or ``KeyboardInterrupt``: the worker's run ends, and the task is released.
    * Any other exception, including ``SystemExit``: the attempt has failed. The task's retry policy applies.

    A handler may be a coroutine function. Up to ``concurrency`` coroutines run at a time, on one event loop. The worker
    cancels a coroutine whose claim is lost.

    Args:
        store: the store from which the worker claims tasks.
        handlers: a mapping from kind to handler, a ``TaskRegistry``, or one handler for all tasks. The worker claims
            only tasks of the kinds in the mapping. The kind ``"*"`` stands for all other kinds and for tasks without a
            kind.
        worker_id: the name under which the worker claims tasks. Default: a new name.
        concurrency: the number of tasks that run at a time. Default: 1.
        claim_ttl: the lease of a claim, in seconds or as a ``timedelta``. ``None`` means a lease without an end. The
            lease matters if the worker's process is suspended, because other workers can claim the process's tasks only
            when the lease has ended. The tasks of a dead worker can be claimed within a second. Default: 600 s.
        heartbeat_interval: the time between two renewals of the claims. Default: a third of ``claim_ttl``.
        tags: claim only tasks whose tags are a subset of these tags. Default: ``None``, any tags.
        batch_size: the largest number of short tasks that one thread claims at a time. Default: 128.
        poll_interval: the time between two checks that the worker still holds the claims of its running tasks. Default:
            1 s.
        task_timeout: the time that an attempt may take, if the task has no ``timeout``. After this time, the attempt
            has failed ("timed out"), the context's ``cancelled`` is set, and the handler's result is dropped. The
            handler is not stopped, because only a ``WorkerPool`` can kill a handler. Default: ``None``, no limit.
        shutdown_timeout: the time within which running tasks have to finish after a signal. Default: 5 s.
    """

    def __init__(
        self,
        store: WorkerStore,
        handlers: Handlers,
        *,
        worker_id: str | None = None,
        concurrency: int = 1,
        claim_ttl: Duration | None = 600.0,
        heartbeat_interval: Duration | None = None,
        tags: Collection[str] | None = None,
        batch_size: int | None = None,
        poll_interval: Duration = 1.0,
        task_timeout: Duration | None = None,
        shutdown_timeout: Duration = 5.0,
    ) -> None:
        self._store = store
        self._handlers = HandlerTable(handlers)
        self._options = worker_options(
            worker_id=worker_id,
            concurrency=concurrency,
            claim_ttl=claim_ttl,
            heartbeat_interval=heartbeat_interval,
            tags=tags,
            batch_size=batch_size,
            poll_interval=poll_interval,
            task_timeout=task_timeout,
            shutdown_timeout=shutdown_timeout,
        )

    @property
    def worker_id(self) -> str:
        """The name under which the worker claims tasks."""
        return self._options.worker_id

    def run(self, until_idle: bool = False) -> RunSummary:
        """Run tasks until the worker is stopped by SIGTERM or SIGINT (on the main thread) or by a handler.

        When the call returns, the worker holds no claims.

        Args:
            until_idle: also stop when no task is left that this worker could ever run. Such a task
                belongs to an instance in progress, fits the worker's handlers and tags, and is ready, scheduled, or
                claimed by any worker.

        Returns:
            The summary of the run.

        Raises:
            BackendError: the store can no longer be used.
            WorkerStartError: the system cannot start a thread for the worker.
        """
        return run_to_end(lambda: self.spawn(until_idle))

    def spawn(self, until_idle: bool = False) -> WorkerHandle:
        """Start ``run`` in the background.

        Args:
            until_idle: see ``run``.

        Returns:
            A handle that stops the worker and waits for its end.
        """
        loop = WorkerLoop(self._store, self._handlers, self._options, until_idle=until_idle)
        return WorkerHandle(loop, f"claims-worker-{self.worker_id}", self._options.shutdown_timeout)
