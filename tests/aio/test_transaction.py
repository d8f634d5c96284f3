"""Tests of those properties of ``async with store.transaction()`` that the synchronous store does not have. The tests
for both stores are in tests/conformance."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
from typing import Any

import pytest

from sqlite_claims import (
    AsyncSqliteClaimStore,
    InstanceState,
    InvalidStateError,
    NewTask,
    SqliteClaimStore,
    StoreBusyError,
    TaskState,
)

from .conftest import Hold, on_a_loop, soon


async def names(store: AsyncSqliteClaimStore) -> list[str]:
    return [instance.instance_id async for instance in store.list_instances()]


def noted(store: AsyncSqliteClaimStore, step: str, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Events that are set when the store's thread has begun or ended a transaction, before the caller gets the
    result."""
    done = threading.Event()
    real = getattr(store._thread, step)

    def note(*args: Any) -> None:
        real(*args)
        done.set()

    monkeypatch.setattr(store._thread, step, note)
    return done


class Elsewhere:
    """An asyncio task that was started before the transaction, so it is outside the block. The asyncio task makes one
    call when the test triggers that call."""

    def __init__(self) -> None:
        self._call: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.done = asyncio.create_task(self._make())

    async def _make(self) -> Any:
        return await (await self._call)()

    async def make(self, call: Any) -> asyncio.Task[Any]:
        self._call.set_result(call)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self.done


@on_a_loop
async def test_calls_from_elsewhere_wait_for_its_end_and_then_run_in_their_order(
    path: str, options: dict[str, Any]
) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        first, second = Elsewhere(), Elsewhere()
        async with store.transaction() as tx:
            await tx.add_instance("mine")
            adding = await first.make(lambda: store.add_instance("first"))
            listing = await second.make(lambda: names(store))
            await tx.add_instance("mine too")
            assert not adding.done()
            assert not listing.done()
        assert await adding is True
        assert await listing == ["mine", "mine too", "first"]


@on_a_loop
async def test_within_the_block_the_stores_reads_see_it_and_its_writes_are_refused(
    path: str, options: dict[str, Any]
) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        async with store.transaction() as tx:
            await tx.add_instance("mine")
            assert await names(store) == ["mine"]
            # Asyncio tasks that the block starts belong to the transaction, too. Otherwise, such a task would wait for
            # the end of the block, and the block would wait for the end of the task.
            seen, refused = await asyncio.gather(names(store), store.add_instance("i"), return_exceptions=True)
            assert seen == ["mine"]
            assert isinstance(refused, InvalidStateError)
            for write in (store.close, lambda: store.open_session("w"), store.transaction().__aenter__):
                with pytest.raises(InvalidStateError):
                    await write()
        assert await store.add_instance("i")


@on_a_loop
async def test_tasks_that_outlive_the_block_in_which_they_were_started_go_on_as_any_other(
    path: str, options: dict[str, Any]
) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        go = asyncio.Event()

        async def later() -> bool:
            await go.wait()
            return await store.add_instance("later")

        async with store.transaction():
            started = asyncio.create_task(later())
        async with store.transaction() as tx:
            go.set()
            await tx.add_instance("mine")
            assert await tx.execute("SELECT 1") == [(1,)]
            assert not started.done()
        assert await started
        assert await names(store) == ["mine", "later"]


@on_a_loop
async def test_calls_of_several_tasks_in_the_block_are_made_one_after_another(
    path: str, options: dict[str, Any]
) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        async with store.transaction() as tx:
            await asyncio.gather(*(tx.add_instance(f"i{n}") for n in range(20)))
        assert await names(store) == [f"i{n}" for n in range(20)]


@on_a_loop
async def test_transactions_of_two_stores_may_be_open_in_one_task(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as one, AsyncSqliteClaimStore(f"{path}-2", **options) as two:
        async with one.transaction() as tx_one, two.transaction() as tx_two:
            await tx_one.add_instance("one")
            await tx_two.add_instance("two")
            assert (await names(one), await names(two)) == (["one"], ["two"])
            with pytest.raises(InvalidStateError):
                await one.add_instance("three")
        assert (await names(one), await names(two)) == (["one"], ["two"])


@on_a_loop
async def test_cancelling_the_block_rolls_it_back(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        added = asyncio.Event()

        async def block() -> None:
            async with store.transaction() as tx:
                await tx.add_instance("i")
                added.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(block())
        await added.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await names(store) == []
        assert await store.add_instance("i")


@on_a_loop
async def test_cancelling_while_it_waits_to_begin_leaves_none_open(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        hold = Hold()
        holding = asyncio.create_task(store.find_available_tasks("w", 1, tags=hold))
        await soon(hold.started)
        beginning = asyncio.create_task(store.transaction().__aenter__())
        await asyncio.sleep(0)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        hold.go.set()
        await holding
        assert await store.add_instance("i")


@on_a_loop
async def test_cancelling_while_it_begins_leaves_none_open(
    path: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        begun = noted(store, "begin", monkeypatch)
        beginning = asyncio.create_task(store.transaction(timeout=600).__aenter__())
        await asyncio.sleep(0)
        begun.wait(30)  # blocks the loop until the transaction has begun
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        assert await store.add_instance("i")


async def held_at_its_end(store: AsyncSqliteClaimStore) -> tuple[Hold, asyncio.Task[None]]:
    """Start a transaction that has made a claim. Its ``async with`` block is ending, but an earlier call still blocks
    the store's thread, so the commit waits."""
    hold = Hold()
    leaving = asyncio.Event()

    async def block() -> None:
        async with store.transaction() as tx:
            await tx.claim_task("i", "t", "w", None)
            await tx.add_instance("mine")
            holding = asyncio.create_task(tx.claim_available_tasks("w", tags=hold))
            await soon(hold.started)
            holding.add_done_callback(lambda done: done.exception())
            leaving.set()

    task = asyncio.create_task(block())
    await leaving.wait()
    await asyncio.sleep(0)
    return hold, task


@on_a_loop
async def test_cancelling_before_the_commit_has_begun_rolls_back(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        await store.add_instance("i", [NewTask("t")])
        hold, task = await held_at_its_end(store)
        for _ in range(3):  # the asyncio task may be cancelled several times
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()  # the asyncio task runs until the transaction has ended
        hold.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await names(store) == ["i"]
        assert (await store.get_task("i", "t")).attempts == 0


@on_a_loop
async def test_cancelling_when_the_commit_has_begun_gives_back_its_claims_alone(
    path: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        await store.add_instance("i", [NewTask("t"), NewTask("u")])
        committed = noted(store, "end", monkeypatch)
        leaving = asyncio.Event()

        async def block() -> None:
            async with store.transaction() as tx:
                await tx.complete_task((await tx.claim_available_tasks("w", 1, None))[0].claim)
                await tx.claim_available_tasks("w", 1, None)
                leaving.set()

        task = asyncio.create_task(block())
        await leaving.wait()
        committed.wait(30)  # blocks the loop until the commit is done
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [(task.state, task.attempts) async for task in store.list_tasks()] == [
            (TaskState.COMPLETED, 1),
            (TaskState.READY, 0),
        ]


@on_a_loop
async def test_a_claim_that_a_block_goes_on_without_is_given_back_in_it(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        await store.add_instance("i", [NewTask("t")])
        hold = Hold()
        async with store.transaction() as tx:
            claiming = asyncio.create_task(tx.claim_available_tasks("w", 1, None, tags=hold))
            await soon(hold.started)
            claiming.cancel()
            hold.go.set()
            with pytest.raises(asyncio.CancelledError):
                await claiming
            assert (await tx.get_task("i", "t")).attempts == 0
        assert (await store.get_task("i", "t")).state is TaskState.READY


# -- duration of a transaction


@on_a_loop
async def test_when_its_time_is_up_others_go_on_whatever_the_block_is_doing(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store, AsyncSqliteClaimStore(path, **options) as other:
        elsewhere = Elsewhere()

        async def slow() -> None:
            async with store.transaction(timeout=0.05) as tx:
                await tx.add_instance("i")
                # Neither other calls on this store nor other stores wait for the end of the block.
                assert await (await elsewhere.make(lambda: store.add_instance("j"))) is True
                assert await other.add_instance("k") is True
                with pytest.raises(StoreBusyError):
                    await tx.add_instance("l")

        with pytest.raises(StoreBusyError):
            await slow()
        assert await names(store) == ["j", "k"]


@on_a_loop
async def test_an_error_of_the_blocks_own_is_not_hidden_by_its_time(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        elsewhere = Elsewhere()

        async def slow_and_broken() -> None:
            async with store.transaction(timeout=0.05):
                await (await elsewhere.make(lambda: store.add_instance("j")))
                raise KeyError

        with pytest.raises(KeyError):
            await slow_and_broken()
        assert await names(store) == ["j"]


@on_a_loop
async def test_a_store_that_waits_longer_than_busy_timeout_raises(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, busy_timeout=0.05, **options) as store:
        elsewhere = Elsewhere()
        async with store.transaction(timeout=600) as tx:
            with pytest.raises(StoreBusyError):
                await (await elsewhere.make(lambda: store.add_instance("j")))
            await tx.add_instance("i")
        assert await names(store) == ["i"]


@on_a_loop
async def test_a_transaction_waits_for_another_no_longer_than_its_own_timeout(
    path: str, options: dict[str, Any]
) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        elsewhere = Elsewhere()
        async with store.transaction(timeout=600) as tx:
            with pytest.raises(StoreBusyError):
                await (await elsewhere.make(store.transaction(timeout=0.05).__aenter__))
            await tx.add_instance("i")
        assert await names(store) == ["i"]


@on_a_loop
async def test_closing_waits_for_a_transaction_elsewhere(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, busy_timeout=0, **options)
    elsewhere = Elsewhere()
    async with store.transaction(timeout=600) as tx:
        closing = await elsewhere.make(store.close)
        await tx.add_instance("i")
        assert not closing.done()
    await closing
    with SqliteClaimStore(path) as again:
        assert again.get_instance("i").state is InstanceState.IN_PROGRESS


# -- misuse


@on_a_loop
async def test_it_can_be_entered_once_and_used_only_then(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store:
        transaction = store.transaction()
        with pytest.raises(InvalidStateError):
            await transaction.add_instance("i")
        async with transaction as tx:
            await tx.add_instance("i")
            with pytest.raises(InvalidStateError):
                await transaction.__aenter__()
        for call in (transaction.__aenter__, lambda: tx.add_instance("j"), lambda: tx.execute("SELECT 1")):
            with pytest.raises(InvalidStateError):
                await call()
        assert await names(store) == ["i"]


@on_a_loop
async def test_the_longest_timeout_there_is_can_be_waited_for(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options) as store, store.transaction(timeout=200 * 365 * 86_400) as tx:
        await tx.add_instance("i")
        assert 0 < store._thread._time_left(tx._scope) < math.inf


def test_a_block_that_its_loop_left_behind_is_rolled_back(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, **options)
    loop = asyncio.new_event_loop()
    added = threading.Event()

    async def block() -> None:
        async with store.transaction(timeout=600) as tx:
            await tx.add_instance("i")
            added.set()
            await asyncio.Event().wait()

    task = loop.create_task(block())
    while not added.is_set():
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # otherwise, asyncio logs the pending task
    del task
    gc.collect()
    assert asyncio.run(store.add_instance("i")) is True
    asyncio.run(store.close())
