"""What every claim store does. The meaning of each method stands here, once; the stores inherit these docstrings.

All errors are ``sqlite_claims.errors.BackendError``s. Every method may also raise ``InvalidArgumentError`` (which
names the argument), ``StoreClosedError``, ``StoreBusyError``, ``StoreFullError``, ``StoreUnavailableError`` and
``StoreCorruptError``; a method that raises has changed nothing. Writing methods raise ``InvalidStateError`` on a
store opened with ``read_only=True``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from .model import (
    AvailableTask,
    ClaimedTask,
    Duration,
    InstanceInfo,
    InstanceState,
    NewTask,
    StoreStats,
    TaskClaim,
    TaskInfo,
    TaskState,
    WorkerInfo,
)

IfExists = Literal["error", "skip"]
Settled = tuple[list[TaskClaim], list[TaskClaim]]
"""What a batch did: the claims that were settled, and those that had been lost."""


class ClaimWriter(Protocol):
    """The writing methods and two reads: what ``transaction()`` offers within one transaction, and a store alone."""

    def claim_task(self, instance_id: str, task_id: str, worker_id: str, ttl: Duration | None) -> TaskClaim | None:
        """Claim one task by name; ``None`` if it can't be claimed now.

        It can be claimed when it is ready, or when its claim has expired: then the old claim is a loss. It can't
        while anyone (the caller included) holds it live, while it is blocked, delayed or in back-off, once it has
        ended, and while its instance is paused or cancelled. ``ttl``: how long until the claim expires; 0 gives one
        that already has; ``None`` gives one without an end, which only its owner or a reboot ends.
        Raises ``NotFoundError`` where there is no such task.
        """

    def release_task_claim(self, instance_id: str, task_id: str, worker_id: str) -> None:
        """Give a task back, by the worker's name: it is available at once in its old place and the attempt does not
        count. Works on an expired claim that nobody has taken over, too.

        Raises ``NotFoundError`` where nobody holds a claim on it, ``ClaimLostError`` where another worker does.
        """

    def extend_task_claim(self, instance_id: str, task_id: str, worker_id: str, additional_duration: Duration) -> None:
        """Add to the claim's expiry, also to one that has passed if nobody has taken the task over. Does nothing to a
        claim without an end. It is additive: for heartbeats use ``renew_task_claim``, which can't run ahead.

        Raises ``NotFoundError`` where nobody holds a claim on it, ``ClaimLostError`` where another worker does.
        """

    def claim_available_tasks(
        self,
        worker_id: str,
        limit: int = 1,
        ttl: Duration | None = 30.0,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
    ) -> list[ClaimedTask]:
        """Find and claim up to ``limit`` tasks in one transaction, in the order of ``find_available_tasks``."""

    def renew_task_claim(self, claim: TaskClaim, ttl: Duration | None) -> TaskClaim:
        """Set the claim's expiry to now + ``ttl`` (``None``: no end) and return the claim as it is now.

        Raises ``ClaimLostError`` where the claim is no longer the task's: the heartbeat's signal to stop.
        """

    def complete_task(self, claim: TaskClaim, output: bytes = b"") -> None:
        """Store the result, end the claim, make ready what depended on it: all in one transaction.

        Raises ``ClaimLostError`` where the claim is no longer the task's; the output is not stored then.
        """

    def fail_task(self, claim: TaskClaim, error: str, *, retry: bool = True, retry_in: Duration | None = None) -> None:
        """End the claim as a failure. The task is tried again after the delay of its retry policy (or ``retry_in``),
        or is ``FAILED`` for good at its ``max_attempts``-th failure, or at once with ``retry=False``. A task that is
        ``FAILED`` cancels all that depend on it.

        Raises ``ClaimLostError`` where the claim is no longer the task's.
        """

    def release_task(self, claim: TaskClaim, *, delay: Duration | None = None) -> None:
        """Give the task back, by the claim's token: as ``release_task_claim``; with ``delay`` it is ``SCHEDULED`` for
        that long first, and takes its place in the order when that has passed.

        Raises ``ClaimLostError`` where the claim is no longer the task's.
        """

    def renew_task_claims(self, claims: Iterable[TaskClaim], ttl: Duration | None) -> Settled:
        """``renew_task_claim`` for many in one transaction: the renewed claims, and the lost ones as given."""

    def complete_tasks(self, results: Iterable[tuple[TaskClaim, bytes]]) -> Settled:
        """``complete_task`` for many in one transaction: ``(done, lost)``."""

    def fail_tasks(self, failures: Iterable[tuple[TaskClaim, str]]) -> Settled:
        """``fail_task`` by each task's policy for many in one transaction: ``(done, lost)``."""

    def release_tasks(self, claims: Iterable[TaskClaim]) -> Settled:
        """``release_task`` for many in one transaction: ``(done, lost)``."""

    def add_instance(
        self,
        instance_id: str,
        tasks: Iterable[NewTask] = (),
        *,
        definition_hash: str = "",
        if_exists: IfExists = "error",
    ) -> bool:
        """Add an instance with its first tasks, all or nothing; at most 100,000 tasks a call. ``True`` if added;
        with ``if_exists="skip"``, ``False`` where an instance of that name is stored already.

        Raises ``AlreadyExistsError`` otherwise, and ``InvalidArgumentError`` for cycles, unknown or self
        dependencies and duplicate ids.
        """

    def add_tasks(self, instance_id: str, tasks: Iterable[NewTask], *, if_exists: IfExists = "error") -> int:
        """Add tasks to an instance, all or nothing; at most 100,000 a call. Returns how many were added. They may
        depend on tasks that are stored already. With ``if_exists="skip"``, tasks whose name is stored already are
        left as they are. An instance that had completed or failed is in progress again.

        Raises ``NotFoundError`` where there is no such instance, ``InvalidStateError`` where it is cancelled or a
        dependency has failed or was cancelled, ``AlreadyExistsError`` for a stored task's name, and
        ``InvalidArgumentError`` as ``add_instance``.
        """

    def pause_instance(self, instance_id: str) -> None:
        """Let no task of the instance be claimed until it is resumed. Holders may go on and settle their claims.
        No-op on a paused one; ``InvalidStateError`` on one that has ended; ``NotFoundError``."""

    def resume_instance(self, instance_id: str) -> None:
        """End a pause; every task is in its old place. No-op where there is none; ``InvalidStateError`` on a
        cancelled one; ``NotFoundError``."""

    def cancel_instance(self, instance_id: str, reason: str | None = None) -> None:
        """End the instance for good: all its tasks that have not ended are ``CANCELLED`` and its claims are lost.
        No-op on a cancelled one; ``InvalidStateError`` on one that completed or failed; ``NotFoundError``."""

    def retry_task(self, instance_id: str, task_id: str) -> None:
        """Start a ``FAILED`` task over, with no attempt, failure or loss used. Tasks that were cancelled because of
        it return, where nothing else that they need has failed. ``InvalidStateError`` on a task that is not
        ``FAILED`` or whose instance is cancelled; ``NotFoundError``."""

    def set_aging_interval(self, interval: Duration | None) -> None:
        """Set how many seconds of waiting are worth one priority level, for every process that uses the file; more
        than 0, or ``None``: no aging."""

    def get_task(self, instance_id: str, task_id: str) -> TaskInfo:
        """All about one task. Raises ``NotFoundError``."""

    def get_instance(self, instance_id: str) -> InstanceInfo:
        """All about one instance. Raises ``NotFoundError``."""


class Transaction(ClaimWriter, Protocol):
    """What ``transaction()`` gives: belongs to the thread that opened it, and ends with the ``with`` block."""

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run the caller's own SQL on the caller's own tables in the same file; rows as tuples. SQLite's exceptions
        for it pass through; transaction control in any form is ``InvalidArgumentError``."""


class TaskClaimStore(ClaimWriter, Protocol):
    """A store of tasks that workers claim. Safe to share between threads."""

    def find_available_tasks(
        self,
        worker_id: str,
        limit: int,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
    ) -> list[AvailableTask]:
        """The first ``limit`` tasks that this worker could claim now. Does NOT claim them.

        ``tags``: a task is offered if its tags are a subset of these; without tags, everything is. ``kinds``: only
        tasks of one of these kinds (``""``: those without one); ``None`` is all, an empty collection none.
        Order, exact over the whole store: by priority, then by when the task became available, then by the order of
        adding; with an aging interval, by ``priority - waited / aging_interval``. Within the result, tasks whose
        last attempt failed on this worker come last.
        """

    def explain_task(self, instance_id: str, task_id: str) -> str:
        """One sentence on why the task is not running. Raises ``NotFoundError``."""

    def wait_for_instance(self, instance_id: str, timeout: Duration) -> InstanceInfo | None:
        """The instance once it is neither in progress nor paused, or ``None`` at the timeout. Raises
        ``NotFoundError``."""

    def list_instances(
        self, *, states: Collection[InstanceState] | None = None, limit: int | None = None
    ) -> Iterator[InstanceInfo]:
        """Instances in the order of adding, read in pages; no read transaction is held between them."""

    def list_tasks(
        self,
        instance_id: str | None = None,
        *,
        states: Collection[TaskState] | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[TaskInfo]:
        """Tasks of one instance by name, or of all in the order of adding; read in pages, with no read transaction
        held between them. ``NotFoundError`` for an ``instance_id`` that is not stored."""

    def list_claims(self, worker_id: str | None = None) -> Iterator[TaskClaim]:
        """The claims there are, also those that have expired and that nobody has taken over."""

    def list_workers(self) -> Iterator[WorkerInfo]:
        """The worker sessions that are known."""

    def stats(self) -> StoreStats:
        """Counts and ages, cheap at any size."""

    def wait_for_tasks(
        self, timeout: Duration, *, tags: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> bool:
        """Block until a task that these admit can be claimed: ``True``, at once where one already can. ``False`` at
        the timeout. Another may claim it first."""

    def transaction(self, timeout: Duration = 5.0) -> AbstractContextManager[Transaction]:
        """Several writes, and the caller's own SQL in the same file, all or nothing. ``timeout`` bounds waiting for
        the writer and holding it: past it the next call, or the end, rolls back and raises ``StoreBusyError``. A
        call that raises undoes only itself."""

    @property
    def aging_interval(self) -> float | None:
        """Seconds of waiting that are worth one priority level; ``None``: no aging. A property of the file."""

    def prune(self, older_than: Duration | timedelta, *, limit: int = 1000) -> int:
        """Remove instances that ended longer ago than this by the wall clock, with their tasks, at most ``limit``.
        Instances to which a running ``sqlite-claims map`` or ``add``, or a ``durable_map``, still adds tasks are
        skipped. Returns how many were removed."""

    def backup(self, path: str) -> None:
        """Write a consistent copy to a new file while workers run."""

    def check(self) -> list[str]:
        """Look for damage: what SQLite finds, and every object, value and count in the file that no store writes. Each
        finding is a sentence that names table, row and value; none means all is well, and after 1,000 it says that
        there are more. It reads what is committed, by pages and a connection of its own, so other calls go on
        meanwhile."""

    def close(self) -> None:
        """End the use of the store. May be called twice."""

    def __enter__(self) -> Self:
        """The store itself; leaving the block closes it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
