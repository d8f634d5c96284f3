"""The Protocols of the methods that find, claim and settle tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from ..model import AvailableTask, ClaimedTask, Duration, TaskClaim
from .sessions import WorkerSession

FailureArguments = tuple[TaskClaim, str] | tuple[TaskClaim, str, Mapping[str, Any]]
"""A claim, its error text and, optionally, the keyword arguments of ``fail_task``."""


class Settled(NamedTuple):
    """The result of a batch method: the claims for which the operation was done, and the claims that were lost."""

    done: list[TaskClaim]
    lost: list[TaskClaim]


class Handover(NamedTuple):
    """The result of ``complete_and_claim``: the claims whose tasks were completed, the claims that were lost, and the
    tasks that were claimed."""

    done: list[TaskClaim]
    lost: list[TaskClaim]
    claimed: list[ClaimedTask]


class SharedClaims(Protocol):
    """The methods for claims that stores and transactions share."""

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
        limited: int | None = None,
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
            limited: Maximum number of tasks with a ``limit`` among the claimed tasks. ``None``: no bound. A worker that
                claims more tasks than it can start at once passes the number of tasks that it can start.

        Returns:
            The tasks with their claims, in the order of ``find_available_tasks``; empty if there is nothing to claim.
        """

    def complete_and_claim(
        self,
        worker_id: str,
        results: Iterable[tuple[TaskClaim, bytes]],
        limit: int = 1,
        ttl: Duration | None = 30.0,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
        session: WorkerSession | None = None,
        limited: int | None = None,
    ) -> Handover:
        """Complete tasks, and then find and claim tasks, in one transaction.

        A task that a completion has made ready, or whose limit has a free slot because of a completion, can be among
        the claimed tasks. The method returns when the results survive a power cut.

        Args:
            worker_id: Name of the claiming worker.
            results: Pairs of a claim and its output, as in ``complete_tasks``.
            limit: Maximum number of tasks to claim.
            ttl: As in ``claim_available_tasks``.
            tags: As in ``claim_available_tasks``.
            kinds: As in ``claim_available_tasks``.
            session: As in ``claim_available_tasks``.
            limited: As in ``claim_available_tasks``.

        Returns:
            The claims whose tasks were completed, the claims that were lost, and the claimed tasks.
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

    def report_progress(
        self,
        claim: TaskClaim,
        *,
        done: float | None = None,
        total: float | None = None,
        note: str | None = None,
        checkpoint: bytes | None = None,
    ) -> None:
        """Store how far the work on a task has come. A power cut may lose the report.

        Progress and checkpoint are kept when the attempt fails, is lost or is released. ``retry_task`` deletes both,
        and completion deletes the checkpoint.

        Args:
            claim: The claim. Its token must be the task's current token.
            done: Amount of work that is done, at least 0. ``None``: keep the stored amount.
            total: Amount of all work, at least 0. ``None``: keep the stored amount.
            note: Text for people, at most 1 KiB. ``None``: keep the stored text.
            checkpoint: Bytes from which the next attempt can continue the work, at most 1 MiB. ``None``: keep the
                stored bytes.

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

    def fail_task(
        self,
        claim: TaskClaim,
        error: str,
        *,
        retry: bool = True,
        retry_in: Duration | None = None,
        detail: bytes = b"",
        timed_out: bool = False,
    ) -> None:
        """End a claim, and record that the attempt failed.

        The task is ``SCHEDULED`` for a retry. But if this is the task's ``max_attempts``-th failure, or with
        ``retry=False``, the task is ``FAILED``, and all tasks that depend on it are ``CANCELLED``.

        Args:
            claim: The claim. Its token must be the task's current token.
            error: Description of the error.
            retry: ``True`` if a retry is allowed.
            retry_in: Seconds (or a ``timedelta``) before the retry. ``None``: the delay of the task's retry policy.
            detail: Bytes to keep with the attempt, at most 64 KiB, for example a traceback.
            timed_out: ``True`` if the attempt ran for too long. ``list_attempts`` then shows ``"timed out"``.

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

    def fail_tasks(self, failures: Iterable[FailureArguments]) -> Settled:
        """Fail many tasks in one transaction, each as ``fail_task`` does.

        Args:
            failures: Tuples of a claim, its error text and, optionally, a mapping of the keyword arguments of
                ``fail_task``.

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


class StoreClaims(Protocol):
    """The methods for claims that only stores have."""

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

    def list_claims(self, worker_id: str | None = None) -> Iterator[TaskClaim]:
        """Iterate over all claims, including expired claims whose tasks nobody has taken over.

        Args:
            worker_id: Return only claims of this worker. ``None``: all.
        """
