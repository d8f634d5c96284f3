"""``PooledWorker``: one worker in this process."""

from __future__ import annotations

from collections.abc import Collection

from ..model import Duration
from .context import RunSummary
from .handle import WorkerHandle, run_to_end
from .options import WorkerStore, worker_options
from .registry import Handlers, HandlerTable
from .worker_loop import WorkerLoop


class PooledWorker:
    """Claims tasks and runs their handlers on threads of this process; any number of workers may share a store.

    ``handlers``: a mapping from kind to a callable that takes a ``TaskContext``, a ``TaskRegistry``, or one callable
    for everything. Only tasks that they handle are claimed; ``"*"`` handles all others and those without a kind.
    A handler returns ``bytes`` or ``None``. It raises ``FailTask`` to fail for good, ``SnoozeTask`` to be asked again
    later at no cost; any other exception is a failed attempt by the task's policy, ``SystemExit`` too. ``StopWorker``
    and ``KeyboardInterrupt`` end the run, and the task is given back. A result of another type fails the task for good.
    Coroutine functions run on one event loop, ``concurrency`` at a time, and are cancelled when their claim is lost.

    ``worker_id``: made up if not given. ``concurrency``: tasks at a time. ``claim_ttl`` (seconds or ``timedelta``;
    ``None``: no end): how long the claims of a worker that is frozen, not dead, stay its own; a dead one's are back
    within a second. ``heartbeat_interval``: between renewals, a third of ``claim_ttl`` if not given. ``tags``: take
    only tasks whose tags are among these. ``batch_size``: short tasks held at a time, at most. ``poll_interval``: how
    often a running task's claim is checked. ``task_timeout``: past it the attempt is a failure ("timed out"): its
    ``cancelled`` is set and its result dropped; a thread can't be killed, a ``WorkerPool``'s process can.
    ``shutdown_timeout``: how long running tasks may go on after a signal.
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
        """The name under which it claims."""
        return self._options.worker_id

    def run(self, until_idle: bool = False) -> RunSummary:
        """Work until stopped: by SIGTERM or SIGINT (on the main thread), by a handler, or with ``until_idle`` when no
        task that it could handle is ready, scheduled or claimed by anyone in an instance in progress.

        Then everything is settled or given back. Raises the store's error where it can't be used any more.
        """
        return run_to_end(lambda: self.spawn(until_idle))

    def spawn(self, until_idle: bool = False) -> WorkerHandle:
        """``run`` in the background."""
        run = WorkerLoop(self._store, self._handlers, self._options, until_idle=until_idle)
        return WorkerHandle(run, f"claims-worker-{self.worker_id}", self._options.shutdown_timeout)
