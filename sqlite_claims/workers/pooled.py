"""``PooledWorker``: a worker in this process."""

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

    A handler takes a ``TaskContext``. Its result or exception decides what becomes of the task:

    * ``bytes`` or ``None``: the task is completed. A result of another type fails the task permanently.
    * ``FailTask``: the task fails permanently.
    * ``SnoozeTask``: the task is released at no cost, and can be claimed again later.
    * ``StopWorker`` or ``KeyboardInterrupt``: the run ends, and the task is released.
    * Any other exception, ``SystemExit`` too: the attempt has failed. The task's retry policy applies.

    Coroutine functions run on one event loop, ``concurrency`` of them at a time. They are cancelled when their claim is
    lost.

    Args:
        store: the store to claim from.
        handlers: a mapping from kind to handler, a ``TaskRegistry``, or one handler for all tasks. Only tasks of these
            kinds are claimed. The kind ``"*"`` stands for all other kinds and for tasks without a kind.
        worker_id: the name under which the worker claims. Default: a new name.
        concurrency: how many tasks run at a time. Default: 1.
        claim_ttl: the lease of a claim, in seconds or as a ``timedelta``; ``None``: without an end. It matters if the
            worker is frozen: other workers can claim its tasks after that time. The tasks of a dead worker are
            available within a second. Default: 600 s.
        heartbeat_interval: the time between two renewals of the claims. Default: a third of ``claim_ttl``.
        tags: claim only tasks all of whose tags are among these. Default: ``None``, any tags.
        batch_size: the most short tasks that one thread claims at a time. Default: 128.
        poll_interval: the time between two checks whether the claims of running tasks are still held. Default: 1 s.
        task_timeout: the time that an attempt may take. After it the attempt has failed ("timed out"), its
            ``cancelled`` is set and its result is dropped. The thread goes on until the handler returns; only a
            ``WorkerPool`` can kill a handler. Default: ``None``, without a limit.
        shutdown_timeout: the time that running tasks have to finish after a signal. Default: 5 s.
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
        """The name under which the worker claims."""
        return self._options.worker_id

    def run(self, until_idle: bool = False) -> RunSummary:
        """Run tasks until the worker is stopped: by SIGTERM or SIGINT (on the main thread), or by a handler.

        At the end, the worker holds no claims.

        Args:
            until_idle: stop also when no task is left that this worker could ever run: no task for its handlers and
                tags is ready, scheduled, or claimed by any worker, in an instance in progress.

        Returns:
            The summary of the run.

        Raises:
            BackendError: the store cannot be used any more.
            WorkerStartError: the system has no threads for the worker.
        """
        return run_to_end(lambda: self.spawn(until_idle))

    def spawn(self, until_idle: bool = False) -> WorkerHandle:
        """Start ``run`` in the background.

        Args:
            until_idle: as for ``run``.

        Returns:
            A handle that stops the worker and waits for its end.
        """
        loop = WorkerLoop(self._store, self._handlers, self._options, until_idle=until_idle)
        return WorkerHandle(loop, f"claims-worker-{self.worker_id}", self._options.shutdown_timeout)
