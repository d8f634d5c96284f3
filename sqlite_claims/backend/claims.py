"""The operations of an engine that find, claim and settle tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..interface import Handover, Settled
from ..model import AvailableTask, ClaimedTask, TaskClaim
from .types import Failure, Kinds, ProgressReport, Tags


class SharedClaimsBackend(Protocol):
    """The operations for claims that stores and transactions share."""

    def claim_task(
        self, *, instance_id: str, task_id: str, worker_id: str, ttl_us: int | None, session_id: int | None
    ) -> TaskClaim | None: ...

    def release_task_claim(self, *, instance_id: str, task_id: str, worker_id: str) -> None: ...

    def extend_task_claim(self, *, instance_id: str, task_id: str, worker_id: str, additional_us: int) -> bool:
        """Return ``False``, and change nothing, if the new expiry would be after the last date (``WALL_US_MAX``)."""

    def claim_available_tasks(
        self,
        *,
        worker_id: str,
        limit: int,
        ttl_us: int | None,
        tags: Tags,
        kinds: Kinds,
        session_id: int | None,
        limited: int,
    ) -> list[ClaimedTask]:
        """``limited``: the largest number of tasks with a limit."""

    def complete_and_claim(
        self,
        results: Sequence[tuple[TaskClaim, bytes]],
        *,
        worker_id: str,
        limit: int,
        ttl_us: int | None,
        tags: Tags,
        kinds: Kinds,
        session_id: int | None,
        limited: int,
    ) -> Handover:
        """``limited``: the largest number of tasks with a limit."""

    def renew_task_claim(self, claim: TaskClaim, *, ttl_us: int | None) -> TaskClaim: ...

    def report_progress(self, claim: TaskClaim, report: ProgressReport) -> None: ...

    def complete_task(self, claim: TaskClaim, output: bytes) -> None: ...

    def fail_task(self, claim: TaskClaim, failure: Failure) -> None: ...

    def release_task(self, claim: TaskClaim, *, delay_us: int | None) -> None: ...

    def renew_task_claims(self, claims: Sequence[TaskClaim], *, ttl_us: int | None) -> Settled: ...

    def complete_tasks(self, results: Sequence[tuple[TaskClaim, bytes]]) -> Settled: ...

    def fail_tasks(self, failures: Sequence[tuple[TaskClaim, Failure]]) -> Settled: ...

    def release_tasks(self, claims: Sequence[TaskClaim]) -> Settled: ...


class StoreClaimsBackend(Protocol):
    """The operations for claims that only stores have."""

    def find_available_tasks(self, *, worker_id: str, limit: int, tags: Tags, kinds: Kinds) -> list[AvailableTask]: ...

    def list_claims(self, *, worker_id: str | None) -> Iterator[list[TaskClaim]]: ...
