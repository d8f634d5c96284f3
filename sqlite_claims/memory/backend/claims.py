"""The operations that find, claim and settle tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from ...backend import Failure, Kinds, ProgressReport, Tags
from ...errors import ClaimLostError
from ...interface import Handover, Settled
from ...model import AvailableTask, ClaimedTask, TaskClaim, TaskState
from ...validate import WALL_US_MAX
from .. import reading
from ..engine import Engine
from ..records import Task
from .base import MemoryOperations, MemoryStoreOperations


class MemorySharedClaims(MemoryOperations):
    """The operations of ``SharedClaimsBackend``."""

    def claim_task(
        self, *, instance_id: str, task_id: str, worker_id: str, ttl_us: int | None, session_id: int | None
    ) -> TaskClaim | None:
        with self._engine() as engine:
            engine.sweep_task(engine.task(instance_id, task_id))
            task = engine.task(instance_id, task_id)
            if not engine.can_be_claimed(task) or engine.free_slots(task) == 0:
                return None
            engine.take_slots([task])
            return reading.claim_of(engine, engine.claim(task, worker_id, ttl_us, session_id))

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
        with self._engine() as engine:
            return _claim(engine, worker_id, limit, ttl_us, tags, kinds, session_id, limited)

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
        with self._engine() as engine:
            done, lost = _complete(engine, results)
            claimed = _claim(engine, worker_id, limit, ttl_us, tags, kinds, session_id, limited)
            return Handover(done, lost, claimed)

    def release_task_claim(self, *, instance_id: str, task_id: str, worker_id: str) -> None:
        with self._engine() as engine:
            engine.release(engine.held_by_name(instance_id, task_id, worker_id), None)

    def extend_task_claim(self, *, instance_id: str, task_id: str, worker_id: str, additional_us: int) -> bool:
        with self._engine() as engine:
            task = engine.held_by_name(instance_id, task_id, worker_id)
            if task.expires_wall is not None and task.expires_wall + additional_us > WALL_US_MAX:
                return False
            engine.extend(task, additional_us)
            return True

    def renew_task_claim(self, claim: TaskClaim, *, ttl_us: int | None) -> TaskClaim:
        with self._engine() as engine:
            return reading.claim_of(engine, engine.renew(engine.held_by_token(claim), ttl_us))

    def report_progress(self, claim: TaskClaim, report: ProgressReport) -> None:
        with self._engine() as engine:
            engine.report_progress(engine.held_by_token(claim), report)

    def complete_task(self, claim: TaskClaim, output: bytes) -> None:
        with self._engine() as engine:
            engine.complete(engine.held_by_token(claim), output)

    def fail_task(self, claim: TaskClaim, failure: Failure) -> None:
        with self._engine() as engine:
            engine.fail(engine.held_by_token(claim), failure)

    def release_task(self, claim: TaskClaim, *, delay_us: int | None) -> None:
        with self._engine() as engine:
            engine.release(engine.held_by_token(claim), delay_us)

    def renew_task_claims(self, claims: Sequence[TaskClaim], *, ttl_us: int | None) -> Settled:
        with self._engine() as engine:
            done: list[TaskClaim] = []
            _, lost = _in_turn(
                engine, claims, lambda task, _: done.append(reading.claim_of(engine, engine.renew(task, ttl_us)))
            )
            return Settled(done, lost)

    def complete_tasks(self, results: Sequence[tuple[TaskClaim, bytes]]) -> Settled:
        with self._engine() as engine:
            return _complete(engine, results)

    def fail_tasks(self, failures: Sequence[tuple[TaskClaim, Failure]]) -> Settled:
        with self._engine() as engine:
            claims = [claim for claim, _ in failures]
            return _in_turn(engine, claims, lambda task, index: engine.fail(task, failures[index][1]))

    def release_tasks(self, claims: Sequence[TaskClaim]) -> Settled:
        with self._engine() as engine:
            return _in_turn(engine, claims, lambda task, _: engine.release(task, None))


class MemoryStoreClaims(MemorySharedClaims, MemoryStoreOperations):
    """The operations of ``SharedClaimsBackend`` and ``StoreClaimsBackend``."""

    def find_available_tasks(self, *, worker_id: str, limit: int, tags: Tags, kinds: Kinds) -> list[AvailableTask]:
        with self._engine(writes=False) as engine:
            found = _first_available(engine, worker_id, limit, tags, kinds, limit)
            return [reading.available_task(engine, task, task.attempts + 1) for task in found]

    def list_claims(self, *, worker_id: str | None) -> Iterator[list[TaskClaim]]:
        with self._engine(writes=False) as engine:
            keys = list(engine.state.held)

        def show(engine: Engine, key: tuple[str, str]) -> TaskClaim | None:
            task = engine.state.tasks.get(key)
            is_held = task is not None and task.state is TaskState.CLAIMED and worker_id in (None, task.worker_id)
            return reading.claim_of(engine, task) if is_held and task is not None else None

        return self._each(keys, show)


def _claim(
    engine: Engine,
    worker_id: str,
    limit: int,
    ttl_us: int | None,
    tags: Tags,
    kinds: Kinds,
    session_id: int | None,
    limited: int,
) -> list[ClaimedTask]:
    claimed = []
    chosen = _first_available(engine, worker_id, limit, tags, kinds, limited)
    engine.take_slots(chosen)
    for found in chosen:
        task = engine.claim(found, worker_id, ttl_us, session_id)
        available = reading.available_task(engine, task, task.attempts)
        claimed.append(ClaimedTask(available, reading.claim_of(engine, task)))
    return claimed


def _complete(engine: Engine, results: Sequence[tuple[TaskClaim, bytes]]) -> Settled:
    claims = [claim for claim, _ in results]
    return _in_turn(engine, claims, lambda task, index: engine.complete(task, results[index][1]))


def _first_available(engine: Engine, worker_id: str, limit: int, tags: Tags, kinds: Kinds, limited: int) -> list[Task]:
    """Return the first tasks that can be claimed. Tasks whose last attempt failed on this worker come last."""
    engine.sweep()
    tasks = list(islice(engine.available(frozenset(tags), kinds, limited), limit))
    # If a task's claim has expired, its last attempt was a loss, not a failure on a worker.
    return sorted(tasks, key=lambda task: task.expires is None and task.failed_on == worker_id)


def _in_turn(engine: Engine, claims: Sequence[TaskClaim], settle: Callable[[Task, int], None]) -> Settled:
    done: list[TaskClaim] = []
    lost: list[TaskClaim] = []
    for index, claim in enumerate(claims):
        try:
            task = engine.held_by_token(claim)
        except ClaimLostError:
            lost.append(claim)
        else:
            settle(task, index)
            done.append(claim)
    return Settled(done, lost)
