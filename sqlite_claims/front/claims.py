"""The public methods that find, claim and settle tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from .. import arguments, validate
from ..backend import Failure, ProgressReport
from ..errors import InvalidArgumentError
from ..interface import FailureArguments, Handover, Settled, WorkerSession
from ..interface.claims import SharedClaims, StoreClaims
from ..model import AvailableTask, ClaimedTask, Duration, TaskClaim
from .base import SharedFront, StoreFront
from .paging import Paged

DETAIL_BYTES_MAX: Final = 65_536
"""The largest size of ``detail`` in ``fail_task``."""
NOTE_BYTES_MAX: Final = 1_024
"""The largest size of ``note`` in ``report_progress``, as UTF-8."""
CHECKPOINT_BYTES_MAX: Final = 1 << 20
"""The largest size of ``checkpoint`` in ``report_progress``."""


class SharedClaimsFront(SharedFront, SharedClaims):
    """The methods of ``SharedClaims``."""

    def claim_task(
        self,
        instance_id: str,
        task_id: str,
        worker_id: str,
        ttl: Duration | None,
        *,
        session: WorkerSession | None = None,
    ) -> TaskClaim | None:
        return self._backend.claim_task(
            instance_id=validate.name("instance_id", instance_id),
            task_id=validate.name("task_id", task_id),
            worker_id=validate.name("worker_id", worker_id),
            ttl_us=None if ttl is None else self._duration_us("ttl", ttl),
            session_id=None if session is None else self._session_id(session),
        )

    def release_task_claim(self, instance_id: str, task_id: str, worker_id: str) -> None:
        self._backend.release_task_claim(
            instance_id=validate.name("instance_id", instance_id),
            task_id=validate.name("task_id", task_id),
            worker_id=validate.name("worker_id", worker_id),
        )

    def extend_task_claim(self, instance_id: str, task_id: str, worker_id: str, additional_duration: Duration) -> None:
        if not self._backend.extend_task_claim(
            instance_id=validate.name("instance_id", instance_id),
            task_id=validate.name("task_id", task_id),
            worker_id=validate.name("worker_id", worker_id),
            additional_us=self._duration_us("additional_duration", additional_duration),
        ):
            raise InvalidArgumentError(
                f"additional_duration reaches past the year 9999: {validate.shown(additional_duration)}"
            )

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
        worker_id = validate.name("worker_id", worker_id)
        limit = validate.limit(limit)
        ttl_us = None if ttl is None else self._duration_us("ttl", ttl)
        worker_tags = () if tags is None else validate.names("tags", tags)
        worker_kinds = validate.kinds(kinds)
        session_id = None if session is None else self._session_id(session)
        limited_max = limit if limited is None else validate.integer("limited", limited, 0)
        if limit == 0 or (worker_kinds is not None and not worker_kinds):
            self._backend.check_usable(writes=True)
            return []
        return self._backend.claim_available_tasks(
            worker_id=worker_id,
            limit=limit,
            ttl_us=ttl_us,
            tags=worker_tags,
            kinds=worker_kinds,
            session_id=session_id,
            limited=limited_max,
        )

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
        checked = arguments.pairs("results", "output", results, validate.data)
        worker_id = validate.name("worker_id", worker_id)
        limit = validate.limit(limit)
        ttl_us = None if ttl is None else self._duration_us("ttl", ttl)
        worker_tags = () if tags is None else validate.names("tags", tags)
        worker_kinds = validate.kinds(kinds)
        session_id = None if session is None else self._session_id(session)
        limited_max = limit if limited is None else validate.integer("limited", limited, 0)
        if limit == 0 or (worker_kinds is not None and not worker_kinds):
            return Handover(*self._backend.complete_tasks(checked), [])
        return self._backend.complete_and_claim(
            checked,
            worker_id=worker_id,
            limit=limit,
            ttl_us=ttl_us,
            tags=worker_tags,
            kinds=worker_kinds,
            session_id=session_id,
            limited=limited_max,
        )

    def renew_task_claim(self, claim: TaskClaim, ttl: Duration | None) -> TaskClaim:
        return self._backend.renew_task_claim(
            arguments.claim("claim", claim), ttl_us=None if ttl is None else self._duration_us("ttl", ttl)
        )

    def report_progress(
        self,
        claim: TaskClaim,
        *,
        done: float | None = None,
        total: float | None = None,
        note: str | None = None,
        checkpoint: bytes | None = None,
    ) -> None:
        report = progress_report(done=done, total=total, note=note, checkpoint=checkpoint)
        self._backend.report_progress(arguments.claim("claim", claim), report)

    def complete_task(self, claim: TaskClaim, output: bytes = b"") -> None:
        self._backend.complete_task(arguments.claim("claim", claim), validate.data("output", output))

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
        self._backend.fail_task(
            arguments.claim("claim", claim),
            self._failure(error, retry=retry, retry_in=retry_in, detail=detail, timed_out=timed_out),
        )

    def _failure(
        self,
        error: object,
        *,
        retry: object = True,
        retry_in: Duration | None = None,
        detail: object = b"",
        timed_out: object = False,
        of: str = "",
    ) -> Failure:
        return Failure(
            validate.text(f"error{of}", error),
            validate.boolean(f"retry{of}", retry),
            None if retry_in is None else self._duration_us(f"retry_in{of}", retry_in),
            validate.data(f"detail{of}", detail, DETAIL_BYTES_MAX),
            validate.boolean(f"timed_out{of}", timed_out),
        )

    def release_task(self, claim: TaskClaim, *, delay: Duration | None = None) -> None:
        self._backend.release_task(
            arguments.claim("claim", claim), delay_us=None if delay is None else self._duration_us("delay", delay)
        )

    def renew_task_claims(self, claims: Iterable[TaskClaim], ttl: Duration | None) -> Settled:
        return self._backend.renew_task_claims(
            arguments.claims(claims), ttl_us=None if ttl is None else self._duration_us("ttl", ttl)
        )

    def complete_tasks(self, results: Iterable[tuple[TaskClaim, bytes]]) -> Settled:
        return self._backend.complete_tasks(arguments.pairs("results", "output", results, validate.data))

    def fail_tasks(self, failures: Iterable[FailureArguments]) -> Settled:
        checked = [
            (claim, self._failure(error, of=" of each of failures", **options))
            for claim, error, options in arguments.failures(failures)
        ]
        return self._backend.fail_tasks(checked)

    def release_tasks(self, claims: Iterable[TaskClaim]) -> Settled:
        return self._backend.release_tasks(arguments.claims(claims))


class StoreClaimsFront(StoreFront, StoreClaims):
    """The methods of ``StoreClaims``."""

    def find_available_tasks(
        self,
        worker_id: str,
        limit: int,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
    ) -> list[AvailableTask]:
        worker_id = validate.name("worker_id", worker_id)
        limit = validate.limit(limit)
        worker_tags = () if tags is None else validate.names("tags", tags)
        worker_kinds = validate.kinds(kinds)
        if limit == 0 or (worker_kinds is not None and not worker_kinds):
            self._backend.check_usable(writes=False)
            return []
        return self._backend.find_available_tasks(
            worker_id=worker_id, limit=limit, tags=worker_tags, kinds=worker_kinds
        )

    def list_claims(self, worker_id: str | None = None) -> Iterator[TaskClaim]:
        name = None if worker_id is None else validate.name("worker_id", worker_id)
        return Paged(self._backend.list_claims(worker_id=name))


def progress_report(
    *, done: float | None, total: float | None, note: str | None, checkpoint: bytes | None
) -> ProgressReport:
    """Check the arguments of ``report_progress``, and return them."""
    return ProgressReport(
        None if done is None else validate.number("done", done, 0.0),
        None if total is None else validate.number("total", total, 0.0),
        None if note is None else validate.text("note", note, NOTE_BYTES_MAX),
        None if checkpoint is None else validate.data("checkpoint", checkpoint, CHECKPOINT_BYTES_MAX),
    )
