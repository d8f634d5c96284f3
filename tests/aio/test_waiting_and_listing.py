"""Waiting and listing: long operations are split into several calls to the store's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from sqlite_claims import (
    AsyncSqliteClaimStore,
    InstanceState,
    InvalidArgumentError,
    NewTask,
    NotFoundError,
    SqliteClaimStore,
    TaskState,
)

from .conftest import on_a_loop

T = TypeVar("T")


class Counting(AsyncSqliteClaimStore):
    """A store that counts the calls to its thread."""

    calls = 0

    async def _call(
        self, run: Callable[[SqliteClaimStore], T], undo: Callable[[SqliteClaimStore, T], object] | None = None
    ) -> T:
        self.calls += 1
        return await super()._call(run, undo)


async def looked(store: Counting, times: int) -> None:
    """Wait until the store has counted this many calls."""
    while store.calls < times:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.001)


@on_a_loop
async def test_waiting_for_tasks_ends_when_another_process_adds_one(path: str, options: dict[str, Any]) -> None:
    async with Counting(path, **options) as store, AsyncSqliteClaimStore(path, **options) as other:
        waiting = asyncio.create_task(store.wait_for_tasks(60, tags=["a"], kinds=["k"]))
        await looked(store, 3)
        await other.add_instance("i", [NewTask("wrong", kind="l"), NewTask("wrong too", kind="k", tags=["b"])])
        await looked(store, store.calls + 2)
        assert not waiting.done()
        # The waiter does not occupy the thread, so other calls on this store are made in the meantime.
        await store.add_tasks("i", [NewTask("t", kind="k", tags=["a"])])
        assert await waiting is True
        assert await store.wait_for_tasks(0, tags=["a"], kinds=["k"]) is True


@on_a_loop
async def test_waiting_ends_at_the_timeout_after_a_last_look(path: str, options: dict[str, Any]) -> None:
    async with Counting(path, **options) as store:
        await store.add_instance("i", [NewTask("t", delay=0.02)])
        assert await store.wait_for_tasks(0) is False
        assert await store.wait_for_instance("i", 0.01) is None
        assert await store.wait_for_tasks(60) is True


@on_a_loop
async def test_waiting_for_an_instance_returns_it_when_it_has_ended(path: str, options: dict[str, Any]) -> None:
    async with Counting(path, **options) as store:
        await store.add_instance("i", [NewTask("t")])
        waiting = asyncio.create_task(store.wait_for_instance("i", 60))
        await looked(store, 4)
        claim = await store.claim_task("i", "t", "w", 30)
        assert claim is not None
        await store.complete_task(claim)
        instance = await waiting
        assert instance is not None
        assert instance.state is InstanceState.COMPLETED
        with pytest.raises(NotFoundError):
            await store.wait_for_instance("j", 60)


@on_a_loop
async def test_waiting_can_be_cancelled(path: str, options: dict[str, Any]) -> None:
    async with Counting(path, **options) as store:
        waiting = asyncio.create_task(store.wait_for_tasks(60))
        await looked(store, 3)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        calls = store.calls
        await asyncio.sleep(0)
        assert store.calls == calls


@pytest.mark.parametrize("wrong", [{"timeout": -1}, {"timeout": 1, "tags": "a"}, {"timeout": 1, "kinds": ["*"]}])
@on_a_loop
async def test_waiting_checks_its_arguments(path: str, options: dict[str, Any], wrong: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        with pytest.raises(InvalidArgumentError):
            await store.wait_for_tasks(**wrong)


@on_a_loop
async def test_a_list_comes_in_pages_and_others_get_their_turn_between_them(path: str, options: dict[str, Any]) -> None:
    async with Counting(path, **options) as store:
        await store.add_instance("i", [NewTask(f"t{n:04}") for n in range(1200)])
        seen = []
        async for task in store.list_tasks():
            seen.append(task.task_id)
            if len(seen) == 1:
                await store.add_tasks("i", [NewTask("t9999")])
        assert seen == [f"t{n:04}" for n in range(1200)] + ["t9999"]
        store.calls = 0
        assert len([task async for task in store.list_tasks("i", limit=700)]) == 700
        assert store.calls == 4  # 1 call opens the list, 2 calls read pages, 1 call finds no more pages


@on_a_loop
async def test_looking_for_what_is_rare_is_done_in_pages_too(path: str, options: dict[str, Any]) -> None:
    async with Counting(path, **options) as store:
        await store.add_instance("i", [NewTask(f"t{n}") for n in range(1200)])
        claim = await store.claim_task("i", "t1199", "w", 30)
        assert claim is not None
        await store.complete_task(claim)
        store.calls = 0
        assert [task.task_id async for task in store.list_tasks(states=[TaskState.COMPLETED])] == ["t1199"]
        assert store.calls == 5


@on_a_loop
async def test_a_list_that_is_left_early_leaves_nothing_open(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        await store.add_instance("i", [NewTask(f"t{n}") for n in range(600)])
        async for _ in store.list_tasks():
            break
        assert await store.check() == []


@on_a_loop
async def test_a_list_refuses_its_arguments_at_the_first_step(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        for listing, error in (
            (store.list_tasks("nowhere"), NotFoundError),
            (store.list_tasks(limit=-1), InvalidArgumentError),
            (store.list_instances(states="paused"), InvalidArgumentError),  # type: ignore[arg-type]
            (store.list_claims(""), InvalidArgumentError),
        ):
            with pytest.raises(error):
                await anext(listing)


@on_a_loop
async def test_claims_and_workers_are_listed(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store, await store.open_session("w") as session:
        await store.add_instance("i", [NewTask("t"), NewTask("u")])
        claim = await store.claim_task("i", "t", "w", None, session=session)
        (claimed,) = await store.claim_available_tasks("v", 1, None)
        assert [found async for found in store.list_claims("w")] == [claim]
        assert {found.token: found async for found in store.list_claims()}.keys() >= {claimed.claim.token}
        assert [(worker.worker_id, worker.alive, worker.claims) async for worker in store.list_workers()] == [
            ("w", True, 1)
        ]
        assert session.worker_id == "w"
        await store.complete_task(claimed.claim)
        assert claim is not None
        await store.release_task(claim)
