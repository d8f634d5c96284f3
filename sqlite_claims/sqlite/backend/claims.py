"""The operations that find, claim and settle tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...backend import Failure, Kinds, ProgressReport, Tags
from ...interface import Handover, Settled
from ...model import AvailableTask, ClaimedTask, TaskClaim
from ..operations import by_token, claiming, reading, sessions
from .base import SqliteOperations, SqliteStoreOperations


class SqliteSharedClaims(SqliteOperations):
    """The operations of ``SharedClaimsBackend``."""

    def claim_task(
        self, *, instance_id: str, task_id: str, worker_id: str, ttl_us: int | None, session_id: int | None
    ) -> TaskClaim | None:
        return self._write(
            claiming.claim_task,
            False,
            instance_id=instance_id,
            task_id=task_id,
            worker_id=worker_id,
            ttl_us=ttl_us,
            session_id=session_id,
        )

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
        write, claim = self._write, claiming.claim_available
        while (
            claimed := write(
                claim,
                False,
                worker_id=worker_id,
                limit=limit,
                ttl_us=ttl_us,
                tags=tags,
                kinds=kinds,
                session_id=session_id,
                limited=limited,
            )
        ) is None:
            if claim is claiming.claim_available:
                self._add_ticks()
                claim = claiming.claim_leaving_ticks
        return claimed

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
        may_add_ticks = True
        while (
            handover := self._write(
                by_token.complete_and_claim,
                bool(results),
                results,
                worker_id=worker_id,
                limit=limit,
                ttl_us=ttl_us,
                tags=tags,
                kinds=kinds,
                session_id=session_id,
                limited=limited,
                may_add_ticks=may_add_ticks,
            )
        ) is None:
            self._add_ticks()
            may_add_ticks = False
        return handover

    def release_task_claim(self, *, instance_id: str, task_id: str, worker_id: str) -> None:
        self._write(claiming.release_by_worker, False, instance_id=instance_id, task_id=task_id, worker_id=worker_id)

    def extend_task_claim(self, *, instance_id: str, task_id: str, worker_id: str, additional_us: int) -> bool:
        return self._write(
            claiming.extend_by_worker,
            False,
            instance_id=instance_id,
            task_id=task_id,
            worker_id=worker_id,
            additional_us=additional_us,
        )

    def renew_task_claim(self, claim: TaskClaim, *, ttl_us: int | None) -> TaskClaim:
        return self._write(by_token.renew, False, claim, ttl_us=ttl_us)

    def report_progress(self, claim: TaskClaim, report: ProgressReport) -> None:
        self._write(by_token.report_progress, False, claim, report)

    def complete_task(self, claim: TaskClaim, output: bytes) -> None:
        self._write(by_token.complete, True, claim, output)

    def fail_task(self, claim: TaskClaim, failure: Failure) -> None:
        self._write(by_token.fail, True, claim, failure)

    def release_task(self, claim: TaskClaim, *, delay_us: int | None) -> None:
        self._write(by_token.release, False, claim, delay_us=delay_us)

    def renew_task_claims(self, claims: Sequence[TaskClaim], *, ttl_us: int | None) -> Settled:
        return self._write(by_token.renew_many, False, claims, ttl_us=ttl_us)

    def complete_tasks(self, results: Sequence[tuple[TaskClaim, bytes]]) -> Settled:
        return self._write(by_token.complete_many, True, results)

    def fail_tasks(self, failures: Sequence[tuple[TaskClaim, Failure]]) -> Settled:
        return self._write(by_token.fail_many, True, failures)

    def release_tasks(self, claims: Sequence[TaskClaim]) -> Settled:
        return self._write(by_token.release_many, False, claims)


class SqliteStoreClaims(SqliteSharedClaims, SqliteStoreOperations):
    """The operations of ``SharedClaimsBackend`` and ``StoreClaimsBackend``."""

    def find_available_tasks(self, *, worker_id: str, limit: int, tags: Tags, kinds: Kinds) -> list[AvailableTask]:
        return self._swept(
            lambda may_sweep: self._read(
                claiming.find_available, worker_id, limit=limit, tags=tags, kinds=kinds, may_sweep=may_sweep
            )
        )

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
        # After a search that found nothing, take the write lock only if there is a task to claim or work for a sweep.
        if not self._found_work:
            self._db.refuse_writes()
            if self._read(claiming.any_available, tags=tags, kinds=kinds, may_sweep=True) is False:
                return []
        claimed = super().claim_available_tasks(
            worker_id=worker_id,
            limit=limit,
            ttl_us=ttl_us,
            tags=tags,
            kinds=kinds,
            session_id=session_id,
            limited=limited,
        )
        self._found_work = bool(claimed)
        return claimed

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
        if not results:
            claimed = self.claim_available_tasks(
                worker_id=worker_id,
                limit=limit,
                ttl_us=ttl_us,
                tags=tags,
                kinds=kinds,
                session_id=session_id,
                limited=limited,
            )
            return Handover([], [], claimed)
        handover = super().complete_and_claim(
            results,
            worker_id=worker_id,
            limit=limit,
            ttl_us=ttl_us,
            tags=tags,
            kinds=kinds,
            session_id=session_id,
            limited=limited,
        )
        self._found_work = bool(handover.claimed)
        return handover

    def list_claims(self, *, worker_id: str | None) -> Iterator[list[TaskClaim]]:
        return self._pages(lambda after: self._read(reading.claims_page, after, worker_id))

    def record_losses(self, claims: Sequence[TaskClaim], why: str) -> list[TaskClaim]:
        """Record the claims of a dead process as lost, with the cause of death. The next search for work would record
        the same losses, but without the cause."""
        return self._write(sessions.record_losses, False, claims, why)
