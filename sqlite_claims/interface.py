"""The Protocols of a claim store. All stores inherit the docstrings of the methods in this module.

Every method may raise the following errors, in addition to the errors in its own docstring:

* ``InvalidArgumentError``: an argument is wrong; the message names the argument.
* ``StoreClosedError``: the store was closed.
* ``StoreBusyError``: another process or thread held the writer for longer than ``busy_timeout``.
* ``StoreFullError``, ``StoreUnavailableError``, ``StoreCorruptError``: the disk or the file has a problem.
* ``InvalidStateError``: a writing method was called on a store opened with ``read_only=True``.

If a method raises an error, it has changed nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self

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


class Settled(NamedTuple):
    """The result of a batch method: the claims for which the operation was done, and the claims that were lost."""

    done: list[TaskClaim]
    lost: list[TaskClaim]


class WorkerSession(Protocol):
    """The session of one worker. ``open_session`` returns the session.

    If the worker's process dies, the claims made with the session (``session=``) are lost at once, even if their leases
    have not ended. Leaving the ``with`` block closes the session.
    """

    @property
    def id(self) -> int:
        """The session's number in the store."""

    @property
    def worker_id(self) -> str:
        """Name of the worker."""

    @property
    def is_open(self) -> bool:
        """True if claims can be made with the session."""

    def close(self) -> None:
        """End the session. May be called twice.

        Settle or release the session's claims before this call, because all remaining claims of the session are lost.
        """

    def __enter__(self) -> Self:
        """Return the session. Leaving the block closes it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClaimWriter(Protocol):
    """The methods that stores and transactions share: all writing methods, ``get_task`` and ``get_instance``."""

    def claim_task(
        self,
        instance_id: str,
        task_id: str,
        worker_id: str,
        ttl: Duration | None,
        *,
        session: WorkerSession | None = None,
    ) -> TaskClaim | None:
        """Claim one task by name.

        A task can be claimed if it is ready, or if the claim on it has expired. The expired claim then counts as a
        loss. A task with a live claim cannot be claimed again, not even by the same worker. A claim without a session
        depends only on its lease: if your process dies, the task can be claimed when the lease has ended.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task within the instance.
            worker_id: Name of the claiming worker, at most 256 bytes.
            ttl: Seconds (or a ``timedelta``) until the claim expires. With 0, the claim has expired at
                once. With ``None``, the claim never expires. It ends only when it is settled or released, when its
                session ends, when the instance is cancelled, or at a reboot.
            session: The worker's session, from ``open_session``. ``None``: the claim depends only on its lease.

        Returns:
            The claim. ``None`` if the task can't be claimed now: the task is claimed, blocked or scheduled, the task
            has ended, or the instance is paused or cancelled.

        Raises:
            NotFoundError: There is no such task.
        """

    def release_task_claim(self, instance_id: str, task_id: str, worker_id: str) -> None:
        """Release a task that this worker has claimed. ``release_task`` identifies the claim by its token instead.

        The task is ready at once, in its old position, and the attempt does not count. An expired claim can be
        released, too, if nobody has taken over the task.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task.
            worker_id: Name of the worker that holds the claim.

        Raises:
            NotFoundError: Nobody holds a claim on the task, or there is no such task.
            ClaimLostError: Another worker holds the claim.
        """

    def extend_task_claim(self, instance_id: str, task_id: str, worker_id: str, additional_duration: Duration) -> None:
        """Add time to the expiry of this worker's claim on a task.

        Extensions add up: three calls with 30 seconds within one second move the expiry by 90 seconds. Use
        ``renew_task_claim`` for a heartbeat. An expired claim can be extended, too, if nobody has taken over the
        task. A claim without an expiry does not change.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task.
            worker_id: Name of the worker that holds the claim.
            additional_duration: Seconds (or a ``timedelta``) to add to the current expiry.

        Raises:
            NotFoundError: Nobody holds a claim on the task, or there is no such task.
            ClaimLostError: Another worker holds the claim.
        """

    def claim_available_tasks(
        self,
        worker_id: str,
        limit: int = 1,
        ttl: Duration | None = 30.0,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
        session: WorkerSession | None = None,
    ) -> list[ClaimedTask]:
        """Find and claim tasks, in one transaction.

        Args:
            worker_id: Name of the claiming worker.
            limit: Maximum number of tasks.
            ttl: Seconds (or a ``timedelta``) until the claims expire. ``None``: the claims never expire.
            tags: Claim only tasks whose tags are a subset of these. ``None`` or empty: any task.
            kinds: Claim only tasks of these kinds; ``""`` is the kind of tasks without one. ``None``: every kind.
                Empty: nothing.
            session: The worker's session, from ``open_session``. ``None``: the claims depend only on their leases.

        Returns:
            The tasks with their claims, in the order of ``find_available_tasks``; empty if there is nothing to claim.
        """

    def renew_task_claim(self, claim: TaskClaim, ttl: Duration | None) -> TaskClaim:
        """Set a claim's expiry to now + ``ttl``. A worker calls this method repeatedly while a long task runs.

        Args:
            claim: The claim. Its token must be the task's current token.
            ttl: Seconds (or a ``timedelta``) from now. ``None``: the claim never expires.

        Returns:
            The claim with its new expiry and the same token.

        Raises:
            ClaimLostError: The claim is no longer valid. Stop working on the task.
        """

    def complete_task(self, claim: TaskClaim, output: bytes = b"") -> None:
        """Store a result, end the claim, and make dependent tasks ready, in one transaction.

        An expired claim is accepted, unless another worker has taken the task over.

        Args:
            claim: The claim. Its token must be the task's current token.
            output: The result, as bytes.

        Raises:
            ClaimLostError: The claim is no longer valid. The output is not stored.
        """

    def fail_task(self, claim: TaskClaim, error: str, *, retry: bool = True, retry_in: Duration | None = None) -> None:
        """End a claim, and record that the attempt failed.

        The task is ``SCHEDULED`` for a retry. But if this is the task's ``max_attempts``-th failure, or with
        ``retry=False``, the task is ``FAILED``, and all tasks that depend on it are ``CANCELLED``.

        Args:
            claim: The claim. Its token must be the task's current token.
            error: Description of the error.
            retry: ``True`` if a retry is allowed.
            retry_in: Seconds (or a ``timedelta``) before the retry. ``None``: the delay of the task's retry policy.

        Raises:
            ClaimLostError: The claim is no longer valid.
        """

    def release_task(self, claim: TaskClaim, *, delay: Duration | None = None) -> None:
        """Release a claimed task. The attempt does not count.

        Args:
            claim: The claim. Its token must be the task's current token.
            delay: ``None``: the task is ready at once, in its old position. Otherwise the task is ``SCHEDULED`` for
                this many seconds (or this ``timedelta``), and gets a new position when it is ready again.

        Raises:
            ClaimLostError: The claim is no longer valid.
        """

    def renew_task_claims(self, claims: Iterable[TaskClaim], ttl: Duration | None) -> Settled:
        """Renew many claims in one transaction, each as ``renew_task_claim`` does.

        Args:
            claims: The claims.
            ttl: Seconds (or a ``timedelta``) from now. ``None``: the claims never expire.

        Returns:
            Two lists: the renewed claims, and the claims that were lost.
        """

    def complete_tasks(self, results: Iterable[tuple[TaskClaim, bytes]]) -> Settled:
        """Complete many tasks in one transaction, each as ``complete_task`` does.

        If a claim is listed twice, the first entry is completed and the second entry is reported as lost.

        Args:
            results: Pairs of a claim and its output.

        Returns:
            Two lists: the claims that were completed, and the claims that were lost.
        """

    def fail_tasks(self, failures: Iterable[tuple[TaskClaim, str]]) -> Settled:
        """Fail many tasks in one transaction, each as ``fail_task`` does with its task's retry policy.

        Args:
            failures: Pairs of a claim and its error text.

        Returns:
            Two lists: the claims that were failed, and the claims that were lost.
        """

    def release_tasks(self, claims: Iterable[TaskClaim]) -> Settled:
        """Release many tasks in one transaction, each as ``release_task`` does.

        Args:
            claims: The claims.

        Returns:
            Two lists: the claims that were released, and the claims that were lost.
        """

    def add_instance(
        self,
        instance_id: str,
        tasks: Iterable[NewTask] = (),
        *,
        definition_hash: str = "",
        if_exists: IfExists = "error",
    ) -> bool:
        """Add an instance and its first tasks, in one transaction.

        Args:
            instance_id: Name of the instance.
            tasks: At most 100,000 tasks. They may depend on each other, in any order.
            definition_hash: Free text that workers get with each task, for example the version of your workflow.
            if_exists: If an instance of that name is stored: ``"error"`` raises an error, ``"skip"`` changes nothing.

        Returns:
            ``True`` if the instance was added. ``False`` is possible only with ``if_exists="skip"``.

        Raises:
            AlreadyExistsError: An instance of that name is stored.
            InvalidArgumentError: Dependencies form a cycle, a dependency is unknown, or two tasks have the same id.
        """

    def add_tasks(self, instance_id: str, tasks: Iterable[NewTask], *, if_exists: IfExists = "error") -> int:
        """Add tasks to a stored instance, in one transaction.

        The tasks may depend on stored tasks of the instance. If the instance was completed or failed, it is in progress
        again.

        Args:
            instance_id: Name of the instance.
            tasks: At most 100,000 tasks.
            if_exists: If a task of that name is stored: ``"error"`` raises an error, ``"skip"`` leaves out this task.

        Returns:
            The number of added tasks.

        Raises:
            NotFoundError: There is no such instance.
            AlreadyExistsError: A task of that name is stored.
            InvalidStateError: The instance is cancelled, or a dependency has failed or was cancelled.
            InvalidArgumentError: As in ``add_instance``.
        """

    def pause_instance(self, instance_id: str) -> None:
        """Stop handing out the tasks of an instance until the instance is resumed.

        Workers that hold claims may continue and settle the claims. If the instance is already paused, the call
        does nothing.

        Args:
            instance_id: Name of the instance.

        Raises:
            NotFoundError: There is no such instance.
            InvalidStateError: The instance has ended.
        """

    def resume_instance(self, instance_id: str) -> None:
        """Resume a paused instance. Each task keeps its position.

        If the instance is not paused, the call does nothing.

        Args:
            instance_id: Name of the instance.

        Raises:
            NotFoundError: There is no such instance.
            InvalidStateError: The instance is cancelled.
        """

    def cancel_instance(self, instance_id: str, reason: str | None = None) -> None:
        """Cancel an instance permanently.

        All tasks of the instance that have not ended are ``CANCELLED``, and their claims are lost. If the
        instance is already cancelled, the call does nothing.

        Args:
            instance_id: Name of the instance.
            reason: Text that is stored with the instance.

        Raises:
            NotFoundError: There is no such instance.
            InvalidStateError: The instance is completed or failed.
        """

    def retry_task(self, instance_id: str, task_id: str) -> None:
        """Retry a ``FAILED`` task from the start: the task's attempts, failures and losses are 0 again.

        If tasks were cancelled because this task had failed, they wait for this task again. But if such
        a task also depends on a different task that failed or was cancelled, it stays cancelled.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task.

        Raises:
            NotFoundError: There is no such task.
            InvalidStateError: The task is not ``FAILED``, or its instance is cancelled.
        """

    def set_aging_interval(self, interval: Duration | None) -> None:
        """Set the waiting time that counts as one priority level, for all processes that use the file.

        Example: with 60 seconds, a task of priority 3 that has waited for a minute ranks equal to a new task of
        priority 2.

        Args:
            interval: Seconds (or a ``timedelta``), more than 0. ``None``: no aging.
        """

    def get_task(self, instance_id: str, task_id: str) -> TaskInfo:
        """Return all information about one task.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task.

        Raises:
            NotFoundError: There is no such task.
        """

    def get_instance(self, instance_id: str) -> InstanceInfo:
        """Return all information about one instance, including the number of tasks in each state.

        Args:
            instance_id: Name of the instance.

        Raises:
            NotFoundError: There is no such instance.
        """


class Transaction(ClaimWriter, Protocol):
    """An open transaction. ``store.transaction()`` returns the transaction.

    Only the thread that opened the transaction may use it. The transaction ends with the ``with`` block.
    """

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run your own SQL on your own tables in the same file.

        SQLite's exceptions for this SQL are raised unchanged.

        Args:
            sql: One or more statements, without transaction control.
            params: Values for the placeholders: a sequence for ``?``, a dictionary for ``:name``.

        Returns:
            All rows, as tuples.

        Raises:
            InvalidArgumentError: The SQL contains transaction control, or would change the store's tables or the
                connection.
        """


class TaskClaimStore(ClaimWriter, Protocol):
    """A store of tasks that workers claim. Several threads may share one store object."""

    def find_available_tasks(
        self,
        worker_id: str,
        limit: int,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
    ) -> list[AvailableTask]:
        """Return the tasks that a worker could claim now, in order. Does NOT claim the tasks.

        The tasks of the whole store are ordered by priority, then by the time when the task became available, then by
        the time when the task was added. With an aging interval, the rank of a task rises while the task waits. Within
        the result, a task whose last attempt failed on this worker comes after all other tasks.

        Args:
            worker_id: Name of the worker.
            limit: Maximum number of tasks; 0 gives an empty list.
            tags: Return only tasks whose tags are a subset of these. ``None`` or empty: any task.
            kinds: Return only tasks of these kinds; ``""`` is the kind of tasks without one. ``None``: every kind.
                Empty: nothing.
        """

    def explain_task(self, instance_id: str, task_id: str) -> str:
        """Explain in one sentence why a task is not running.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task.

        Raises:
            NotFoundError: There is no such task.
        """

    def wait_for_instance(self, instance_id: str, timeout: Duration) -> InstanceInfo | None:
        """Wait until an instance has ended: completed, failed or cancelled.

        Args:
            instance_id: Name of the instance.
            timeout: Seconds (or a ``timedelta``) to wait at most.

        Returns:
            The ended instance. ``None`` if the instance has not ended at the timeout.

        Raises:
            NotFoundError: There is no such instance.
        """

    def list_instances(
        self, *, states: Collection[InstanceState] | None = None, limit: int | None = None
    ) -> Iterator[InstanceInfo]:
        """Iterate over the instances in the order in which they were added.

        The instances are read in pages, and no read transaction is held between pages.

        Args:
            states: Return only instances in these states. ``None``: all.
            limit: Maximum number of instances. ``None``: all.
        """

    def list_tasks(
        self,
        instance_id: str | None = None,
        *,
        states: Collection[TaskState] | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[TaskInfo]:
        """Iterate over the tasks of one instance, ordered by name, or over all tasks, in the order of addition.

        The tasks are read in pages, and no read transaction is held between pages.

        Args:
            instance_id: Name of the instance. ``None``: tasks of all instances.
            states: Return only tasks in these states. ``None``: all.
            kinds: Return only tasks of these kinds; ``""`` is the kind of tasks without one. ``None``: every kind.
            limit: Maximum number of tasks. ``None``: all.

        Raises:
            NotFoundError: There is no such instance.
        """

    def list_claims(self, worker_id: str | None = None) -> Iterator[TaskClaim]:
        """Iterate over all claims, including expired claims whose tasks nobody has taken over.

        Args:
            worker_id: Return only claims of this worker. ``None``: all.
        """

    def list_workers(self) -> Iterator[WorkerInfo]:
        """Iterate over the worker sessions.

        Each record shows the number of the session's claims, and whether the worker's process is alive.
        """

    def stats(self) -> StoreStats:
        """Return counts and ages of the whole store. The call is fast for a store of any size."""

    def wait_for_tasks(
        self, timeout: Duration, *, tags: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> bool:
        """Wait until a task can be claimed. After the wait, a different worker may claim the task first.

        Args:
            timeout: Seconds (or a ``timedelta``) to wait at most.
            tags: As in ``find_available_tasks``.
            kinds: As in ``find_available_tasks``.

        Returns:
            ``True`` as soon as a task can be claimed. ``False`` if no task can be claimed until the timeout.
        """

    def open_session(self, worker_id: str) -> WorkerSession:
        """Start a worker's session.

        If this process dies, the claims made with the session (``session=``) are lost at once, even if their leases
        have not ended. Close the session when the worker ends.

        Args:
            worker_id: Name of the worker.
        """

    def transaction(self, timeout: Duration = 5.0) -> AbstractContextManager[Transaction]:
        """Open a transaction for several writes and your own SQL in the same file.

        If a method of the transaction raises an error, only the changes of this method are undone. An exception that
        leaves the block rolls back the whole transaction.

        Args:
            timeout: Limit, in seconds (or a ``timedelta``), for waiting for the writer and for holding it. After this
                time, the next call or the end of the block rolls back and raises ``StoreBusyError``.
        """

    @property
    def aging_interval(self) -> float | None:
        """Seconds of waiting that count as one priority level; ``None``: no aging. The value is stored in the file."""

    def prune(self, older_than: Duration | timedelta, *, limit: int = 1000) -> int:
        """Remove instances that ended long enough ago, with their tasks.

        Instances to which a running ``map``, ``add`` or ``durable_map`` still adds tasks are skipped.

        Args:
            older_than: Remove instances that ended more than this many seconds (or this ``timedelta``) ago, by the wall
                clock.
            limit: Maximum number of removed instances.

        Returns:
            The number of removed instances.
        """

    def backup(self, path: str) -> None:
        """Write a consistent copy to a new file, while workers run.

        Args:
            path: The path of the new file. The file must not exist.

        Raises:
            AlreadyExistsError: There is a file at ``path``.
        """

    def check(self) -> list[str]:
        """Check the whole file for damage, while other calls continue.

        The call runs SQLite's integrity check, and searches for schema objects, values and counts that no
        store would write.

        Returns:
            At most 1,000 sentences. Each sentence describes one problem, with the table, row and value. The list is
            empty if no problem was found.
        """

    def close(self) -> None:
        """Close the store. May be called twice."""

    def __enter__(self) -> Self:
        """Return the store. Leaving the block closes it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


WorkerStore = TaskClaimStore
"""The type of a worker's store. A worker can use any store, because every store has sessions."""
