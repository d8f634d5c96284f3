"""The methods of ``AsyncSqliteClaimStore`` and its transactions that are one call on the store's thread each.

Written by scripts/make_aio.py; not to be edited.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterable

from ..interface import IfExists, Settled
from ..model import (
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
from .calls import StoreCalls, WriterCalls
from .interface import AsyncClaimWriter, AsyncTaskClaimStore
from .session import AsyncWorkerSession, bare


class AsyncWriter(WriterCalls, AsyncClaimWriter):
    """Each method of ``Writer`` as one call."""

    async def claim_task(
        self,
        instance_id: str,
        task_id: str,
        worker_id: str,
        ttl: Duration | None,
        *,
        session: AsyncWorkerSession | None = None,
    ) -> TaskClaim | None:
        return await self._claim(lambda on: on.claim_task(instance_id, task_id, worker_id, ttl, session=bare(session)))

    async def release_task_claim(self, instance_id: str, task_id: str, worker_id: str) -> None:
        await self._call(lambda on: on.release_task_claim(instance_id, task_id, worker_id))

    async def extend_task_claim(
        self, instance_id: str, task_id: str, worker_id: str, additional_duration: Duration
    ) -> None:
        await self._call(lambda on: on.extend_task_claim(instance_id, task_id, worker_id, additional_duration))

    async def claim_available_tasks(
        self,
        worker_id: str,
        limit: int = 1,
        ttl: Duration | None = 30.0,
        *,
        tags: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
        session: AsyncWorkerSession | None = None,
    ) -> list[ClaimedTask]:
        return await self._claim(
            lambda on: on.claim_available_tasks(worker_id, limit, ttl, tags=tags, kinds=kinds, session=bare(session))
        )

    async def renew_task_claim(self, claim: TaskClaim, ttl: Duration | None) -> TaskClaim:
        return await self._call(lambda on: on.renew_task_claim(claim, ttl))

    async def complete_task(self, claim: TaskClaim, output: bytes = b"") -> None:
        await self._call(lambda on: on.complete_task(claim, output))

    async def fail_task(
        self, claim: TaskClaim, error: str, *, retry: bool = True, retry_in: Duration | None = None
    ) -> None:
        await self._call(lambda on: on.fail_task(claim, error, retry=retry, retry_in=retry_in))

    async def release_task(self, claim: TaskClaim, *, delay: Duration | None = None) -> None:
        await self._call(lambda on: on.release_task(claim, delay=delay))

    async def renew_task_claims(self, claims: Iterable[TaskClaim], ttl: Duration | None) -> Settled:
        return await self._call(lambda on: on.renew_task_claims(claims, ttl))

    async def complete_tasks(self, results: Iterable[tuple[TaskClaim, bytes]]) -> Settled:
        return await self._call(lambda on: on.complete_tasks(results))

    async def fail_tasks(self, failures: Iterable[tuple[TaskClaim, str]]) -> Settled:
        return await self._call(lambda on: on.fail_tasks(failures))

    async def release_tasks(self, claims: Iterable[TaskClaim]) -> Settled:
        return await self._call(lambda on: on.release_tasks(claims))

    async def add_instance(
        self,
        instance_id: str,
        tasks: Iterable[NewTask] = (),
        *,
        definition_hash: str = "",
        if_exists: IfExists = "error",
    ) -> bool:
        return await self._call(
            lambda on: on.add_instance(instance_id, tasks, definition_hash=definition_hash, if_exists=if_exists)
        )

    async def add_tasks(self, instance_id: str, tasks: Iterable[NewTask], *, if_exists: IfExists = "error") -> int:
        return await self._call(lambda on: on.add_tasks(instance_id, tasks, if_exists=if_exists))

    async def pause_instance(self, instance_id: str) -> None:
        await self._call(lambda on: on.pause_instance(instance_id))

    async def resume_instance(self, instance_id: str) -> None:
        await self._call(lambda on: on.resume_instance(instance_id))

    async def cancel_instance(self, instance_id: str, reason: str | None = None) -> None:
        await self._call(lambda on: on.cancel_instance(instance_id, reason))

    async def retry_task(self, instance_id: str, task_id: str) -> None:
        await self._call(lambda on: on.retry_task(instance_id, task_id))

    async def set_aging_interval(self, interval: Duration | None) -> None:
        await self._call(lambda on: on.set_aging_interval(interval))

    async def get_task(self, instance_id: str, task_id: str) -> TaskInfo:
        return await self._call(lambda on: on.get_task(instance_id, task_id))

    async def get_instance(self, instance_id: str) -> InstanceInfo:
        return await self._call(lambda on: on.get_instance(instance_id))


class AsyncStoreMethods(StoreCalls, AsyncWriter, AsyncTaskClaimStore):
    """Each method of ``Store`` as one call."""

    async def find_available_tasks(
        self, worker_id: str, limit: int, *, tags: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> list[AvailableTask]:
        return await self._call(lambda on: on.find_available_tasks(worker_id, limit, tags=tags, kinds=kinds))

    async def explain_task(self, instance_id: str, task_id: str) -> str:
        return await self._call(lambda on: on.explain_task(instance_id, task_id))

    def list_instances(
        self, *, states: Collection[InstanceState] | None = None, limit: int | None = None
    ) -> AsyncIterator[InstanceInfo]:
        return self._listed(lambda on: on.list_instances(states=states, limit=limit))

    def list_tasks(
        self,
        instance_id: str | None = None,
        *,
        states: Collection[TaskState] | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[TaskInfo]:
        return self._listed(lambda on: on.list_tasks(instance_id, states=states, kinds=kinds, limit=limit))

    def list_claims(self, worker_id: str | None = None) -> AsyncIterator[TaskClaim]:
        return self._listed(lambda on: on.list_claims(worker_id))

    def list_workers(self) -> AsyncIterator[WorkerInfo]:
        return self._listed(lambda on: on.list_workers())

    async def stats(self) -> StoreStats:
        return await self._call(lambda on: on.stats())

    async def get_aging_interval(self) -> float | None:
        return await self._call(lambda on: on.aging_interval)

    async def prune(self, older_than: Duration, *, limit: int = 1000) -> int:
        return await self._call(lambda on: on.prune(older_than, limit=limit))

    async def backup(self, path: str | os.PathLike[str]) -> None:
        await self._apart(lambda on: on._backup(path))

    async def check(self) -> list[str]:
        return await self._apart(lambda on: on._check())
