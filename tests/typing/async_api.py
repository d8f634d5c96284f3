"""Code that only mypy --strict reads (`make lint`) and that never runs: the methods of the asynchronous store have
exact types."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import assert_type

from sqlite_claims import (
    AsyncSqliteClaimStore,
    AsyncTaskClaimStore,
    AvailableTask,
    ClaimedTask,
    InstanceInfo,
    NewTask,
    StoreStats,
    TaskClaim,
    TaskInfo,
    TaskState,
    WorkerInfo,
)
from sqlite_claims.aio import AsyncOpenTransaction, AsyncWorkerSession
from sqlite_claims.aio.interface import AsyncTransaction
from sqlite_claims.interface import Settled


async def of_any(store: AsyncTaskClaimStore, claim: TaskClaim) -> None:
    assert_type(await store.find_available_tasks("w", 1, tags=["a"], kinds={"b"}), list[AvailableTask])
    assert_type(await store.renew_task_claim(claim, None), TaskClaim)
    assert_type(await store.complete_tasks([(claim, b"")]), Settled)
    assert_type(await store.add_instance("i", (NewTask("t") for _ in "a"), if_exists="skip"), bool)
    assert_type(await store.add_tasks("i", []), int)
    assert_type(await store.get_instance("i"), InstanceInfo)
    assert_type(await store.wait_for_instance("i", 1), InstanceInfo | None)
    assert_type(await store.wait_for_tasks(1), bool)
    assert_type(await store.stats(), StoreStats)
    assert_type(await store.get_aging_interval(), float | None)
    assert_type(await store.explain_task("i", "t"), str)
    assert_type(store.list_tasks(states=[TaskState.READY]), AsyncIterator[TaskInfo])
    assert_type(store.list_instances(), AsyncIterator[InstanceInfo])
    assert_type(store.list_claims(), AsyncIterator[TaskClaim])
    assert_type([worker async for worker in store.list_workers()], list[WorkerInfo])
    assert_type(store.transaction(timeout=1), AbstractAsyncContextManager[AsyncTransaction])
    async with store as same, same.transaction() as tx:
        assert_type(same, AsyncTaskClaimStore)
        assert_type(await tx.claim_available_tasks("w"), list[ClaimedTask])
        assert_type(await tx.get_task("i", "t"), TaskInfo)
        await tx.execute("SELECT ?", (1,))


async def of_a_file(store: AsyncSqliteClaimStore) -> None:
    assert_type(store.path, str)
    async with store as same, await same.open_session("w") as session:
        assert_type(same, AsyncSqliteClaimStore)
        assert_type(session, AsyncWorkerSession)
        assert_type(await store.claim_task("i", "t", "w", None, session=session), TaskClaim | None)
        assert_type(await store.claim_available_tasks("w", session=session), list[ClaimedTask])
        assert_type(await store.prune(1), int)
    async with store.transaction() as tx:
        assert_type(tx, AsyncOpenTransaction)
        await tx.claim_task("i", "t", "w", 30, session=None)


async def what_is_refused(store: AsyncTaskClaimStore) -> None:
    # Each ignore is checked, too, because mypy --strict reports an ignore that is not needed.
    await store.claim_task("i", "t", "w")  # type: ignore[call-arg]  # ttl has no default
    await store.claim_task("i", "t", "w", "30")  # type: ignore[arg-type]
    _ = store.stats().live_claims  # type: ignore[attr-defined]  # the call must be awaited
    for _ in store.list_tasks():  # type: ignore[attr-defined]
        pass
    async with store.transaction() as tx:
        tx.list_tasks()  # type: ignore[attr-defined]
