"""A cancelled call leaves no claim behind: if the caller did not receive the claim, the store releases the claim."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from sqlite_claims import (
    AsyncSqliteClaimStore,
    NewTask,
    NotFoundError,
    SqliteClaimStore,
    StoreClosedError,
    TaskState,
)

from .conftest import Hold, of_stores, on_a_loop, soon


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def queued(store: AsyncSqliteClaimStore) -> tuple[Hold, asyncio.Task[Any]]:
    """A call that blocks the store's thread, so that later calls have to wait in the queue."""
    hold = Hold()
    holding = asyncio.create_task(store.find_available_tasks("holder", 1, tags=hold))
    await soon(hold.started)
    return hold, holding


@on_a_loop
async def test_a_call_cancelled_in_the_queue_is_not_run(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        await store.add_instance("i", [NewTask("t")])
        hold, holding = await queued(store)
        calls = [
            asyncio.create_task(call)
            for call in (
                store.claim_task("i", "t", "w", None),
                store.add_instance("j"),
                store.claim_available_tasks("w", 1, None),
            )
        ]
        await asyncio.sleep(0)
        for call in calls:
            await cancelled(call)
        hold.go.set()
        await holding
        task = await store.get_task("i", "t")
        assert (task.state, task.attempts) == (TaskState.READY, 0)
        with pytest.raises(NotFoundError):
            await store.get_instance("j")


@pytest.mark.parametrize("by_name", [False, True])
@on_a_loop
async def test_a_claim_that_is_cancelled_while_it_is_made_is_given_back(
    path: str, options: dict[str, Any], by_name: bool
) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        await store.add_instance("i", [NewTask("t")])
        hold = Hold()
        call: Coroutine[Any, Any, Any] = store.claim_available_tasks("w", 1, None, tags=hold)
        if by_name:
            call.close()
            # No argument of claim_task could block the thread, so the test blocks the thread before the call of
            # claim_task.
            call = store._claim(lambda on: (list(hold), on.claim_task("i", "t", "w", None))[1])
        claiming = asyncio.create_task(call)
        await soon(hold.started)
        await cancelled(claiming)
        hold.go.set()
        task = await store.get_task("i", "t")
        assert (task.state, task.attempts, task.claim) == (TaskState.READY, 0, None)


@on_a_loop
async def test_a_claim_that_arrived_but_was_not_taken_is_given_back(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        await store.add_instance("i", [NewTask("t")])
        claiming = asyncio.create_task(store.claim_task("i", "t", "w", None))
        behind = threading.Event()
        marking = asyncio.create_task(store._call(lambda _: behind.set()))
        await asyncio.sleep(0)
        behind.wait(30)  # blocks the loop until the claim is made and its result has been sent to the loop
        assert next(SqliteClaimStore(path).list_claims()).worker_id == "w"
        # The cancellation runs after the result has arrived on the loop, but before the asyncio task continues with the
        # result.
        asyncio.get_running_loop().call_soon(claiming.cancel)
        with pytest.raises(asyncio.CancelledError):
            await claiming
        await marking
        assert [claim async for claim in store.list_claims()] == []
        assert (await store.get_task("i", "t")).attempts == 0


@on_a_loop
async def test_a_call_that_has_begun_and_is_no_claim_takes_effect(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        hold = Hold("t")

        def tasks() -> Iterator[NewTask]:
            yield from map(NewTask, hold)

        adding = asyncio.create_task(store.add_instance("i", tasks()))
        await soon(hold.started)
        await cancelled(adding)
        hold.go.set()
        assert (await store.get_task("i", "t")).state is TaskState.READY


@on_a_loop
async def test_a_call_that_fails_after_its_caller_has_gone_fails_silently(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        hold = Hold("")  # not a valid tag
        claiming = asyncio.create_task(store.claim_available_tasks("w", tags=hold))
        await soon(hold.started)
        await cancelled(claiming)
        hold.go.set()
        assert await store.check() == []


@on_a_loop
async def test_a_session_that_its_caller_did_not_get_is_closed(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        opening = asyncio.create_task(store.open_session("w"))
        behind = threading.Event()
        marking = asyncio.create_task(store._call(lambda _: behind.set()))
        await asyncio.sleep(0)
        behind.wait(30)
        await cancelled(opening)
        await marking
        assert [worker async for worker in store.list_workers()] == []


@on_a_loop
async def test_a_timeout_round_a_claim_gives_it_back(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        await store.add_instance("i", [NewTask("t")])
        hold = Hold()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.claim_available_tasks("w", 1, None, tags=hold), 0.01)
        hold.go.set()
        assert (await store.get_task("i", "t")).attempts == 0


@pytest.mark.slow
@on_a_loop
async def test_closing_gives_back_what_its_caller_has_not_got_yet(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, **options)
    await store.add_instance("i", [NewTask("t")])
    claiming = asyncio.create_task(store.claim_task("i", "t", "w", None))
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    for thread in of_stores():
        thread.join(30)  # blocks the loop until the store's thread has made the claim and closed the store
    with pytest.raises(StoreClosedError):
        await claiming
    await closing
    with SqliteClaimStore(path) as again:
        assert list(again.list_claims()) == []
        assert again.get_task("i", "t").attempts == 0


def test_a_claim_whose_loop_is_gone_is_given_back(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, **options)
    asyncio.run(store.add_instance("i", [NewTask("t")]))
    hold = Hold()
    loop = asyncio.new_event_loop()
    claiming = loop.create_task(store.claim_available_tasks("w", 1, None, tags=hold))
    loop.run_until_complete(soon(hold.started))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    hold.go.set()
    task = asyncio.run(store.get_task("i", "t"))
    assert (task.state, task.attempts) == (TaskState.READY, 0)
    claiming._log_destroy_pending = False  # type: ignore[attr-defined]  # otherwise, asyncio logs the pending task
    del claiming
    asyncio.run(store.close())


async def cancel_at_random(path: str, options: dict[str, Any], rounds: int) -> None:
    draw = random.Random(rounds)
    names = [f"t{n}" for n in range(6)]
    threads = threading.active_count()
    cut_off = 0
    async with AsyncSqliteClaimStore(path, **options) as store:
        await store.add_instance("i", [NewTask(name, max_lost=2**31 - 1) for name in names])

        async def claim() -> list[Any]:
            if draw.random() < 0.5:
                return [claimed.claim for claimed in await store.claim_available_tasks("w", draw.randint(1, 3), None)]
            claim = await store.claim_task("i", draw.choice(names), "w", None)
            return [] if claim is None else [claim]

        async def claim_in_a_transaction() -> list[Any]:
            async with store.transaction() as tx:
                return [claimed.claim for claimed in await tx.claim_available_tasks("w", 2, None)]

        async def round_of_one() -> int:
            claiming = asyncio.create_task(claim() if draw.random() < 0.8 else claim_in_a_transaction())
            if draw.random() < 0.5:
                for _ in range(draw.randint(0, 12)):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(draw.random() * 0.002)
            claiming.cancel()
            try:
                claims = await claiming
            except asyncio.CancelledError:
                return 0
            await store.release_tasks(claims)
            return 1

        for _ in range(rounds // 5):
            got = await asyncio.gather(*(round_of_one() for _ in range(5)))
            cut_off += 5 - sum(got)
            left = [claim async for claim in store.list_claims()]
            assert left == [], f"after {sum(got)} of 5 got theirs"
        assert {task.attempts async for task in store.list_tasks()} <= {0}
        assert await store.check() == []
    for thread in of_stores():
        thread.join(30)
    more = threading.active_count() - threads
    print(f"\n{rounds:,} claims, {cut_off:,} of them cut off: no claim and {more} threads left")
    assert more == 0
    # The test is useful only if some cancellations came after the end of the call, and most came before.
    assert rounds // 10 < cut_off < rounds


@on_a_loop
async def test_claims_cancelled_at_any_moment_leave_none_behind(path: str, options: dict[str, Any]) -> None:
    await cancel_at_random(path, options, 500)


@pytest.mark.soak
@on_a_loop
async def test_many_claims_cancelled_at_any_moment_leave_none_behind(path: str, options: dict[str, Any]) -> None:
    await cancel_at_random(path, options, 10_000)
