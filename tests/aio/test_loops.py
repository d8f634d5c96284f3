"""Loops, threads and processes that start and end while a store is in use."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import weakref
from contextlib import suppress
from typing import Any

import pytest

from sqlite_claims import (
    AsyncSqliteClaimStore,
    ClaimLostError,
    NewTask,
    StoreClosedError,
    StoreUnavailableError,
)

from .conftest import Hold, of_stores, on_a_loop, soon


def program(code: str, *arguments: str) -> str:
    """Run a program and return its output. Assert that the program's exit status is 0 and that it prints no errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_store_serves_several_loops_one_after_another(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, **options)
    for number in range(3):
        assert asyncio.run(store.add_instance(f"i{number}")) is True
    assert asyncio.run(store.get_instance("i0")).instance_id == "i0"
    asyncio.run(store.close())


def test_a_store_serves_loops_of_several_threads_at_once(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, **options)
    asyncio.run(store.add_instance("i", [NewTask(f"t{n}") for n in range(40)]))
    together = threading.Barrier(4)
    got: list[str] = []

    async def work() -> None:
        together.wait(30)
        while found := await store.claim_available_tasks("w", 2):
            for claimed in found:
                got.append(claimed.task.task_id)
                await store.complete_task(claimed.claim)

    threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(f"t{n}" for n in range(40))
    asyncio.run(store.close())


@on_a_loop
async def test_nothing_is_opened_before_the_first_call(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, create=False, **options)
    assert of_stores() == []
    with pytest.raises(StoreUnavailableError):
        await store.stats()
    async with AsyncSqliteClaimStore(path, **options) as other:
        assert (store.path, repr(store)) == (other.path, f"AsyncSqliteClaimStore({other.path!r})")
    # The next call tries again to open the file, as the first call did.
    assert (await store.stats()).live_claims == 0
    await store.close()


@on_a_loop
async def test_a_block_that_cannot_open_its_store_leaves_no_thread(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, create=False, **options)
    with pytest.raises(StoreUnavailableError):
        await store.__aenter__()
    for thread in of_stores():
        thread.join(30)
    with pytest.raises(StoreClosedError):
        await store.stats()


@on_a_loop
async def test_a_path_is_that_of_the_time_when_the_store_was_made(
    path: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(path.rpartition("/")[0])
    store = AsyncSqliteClaimStore("jobs.db", **options)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    await store.add_instance("i")
    await store.close()
    async with AsyncSqliteClaimStore(path, create=False, **options) as again:
        assert (await again.get_instance("i")).instance_id == "i"


@on_a_loop
async def test_closing_ends_the_thread_after_what_was_called_before(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, **options)
    hold = Hold()
    first = asyncio.create_task(store.find_available_tasks("w", 1, tags=hold))
    await soon(hold.started)
    second = asyncio.create_task(store.add_instance("i"))
    await asyncio.sleep(0)
    closings = [asyncio.create_task(store.close()) for _ in range(2)]
    await asyncio.sleep(0)
    late = asyncio.create_task(store.add_instance("j"))
    await asyncio.sleep(0)
    hold.go.set()
    assert (await first, await second) == ([], True)
    await asyncio.gather(*closings)
    with pytest.raises(StoreClosedError):
        await late
    with pytest.raises(StoreClosedError):
        await store.stats()
    with pytest.raises(StoreClosedError):
        await store.__aenter__()
    await store.close()


@on_a_loop
async def test_closing_happens_also_if_it_is_cancelled(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, **options)
    hold = Hold()
    first = asyncio.create_task(store.find_available_tasks("w", 1, tags=hold))
    await soon(hold.started)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    hold.go.set()
    await first
    for thread in of_stores():
        thread.join(30)
    with pytest.raises(StoreClosedError):
        await store.stats()


@on_a_loop
async def test_a_store_that_nobody_refers_to_any_more_ends_its_thread(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, **options)
    await store.add_instance("i")
    (thread,) = of_stores()
    del store
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


@on_a_loop
async def test_a_transaction_that_nobody_refers_to_any_more_is_rolled_back(path: str, options: dict[str, Any]) -> None:
    tx = await AsyncSqliteClaimStore(path, **options).transaction(timeout=600).__aenter__()
    await tx.add_instance("i")
    (thread,) = of_stores()
    del tx
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()
    async with AsyncSqliteClaimStore(path, **options) as store:
        assert await store.add_instance("i") is True


@on_a_loop
async def test_objects_that_a_store_returned_keep_it_alive(path: str, options: dict[str, Any]) -> None:
    async with AsyncSqliteClaimStore(path, **options).transaction() as tx:
        gc.collect()
        await tx.add_instance("i")
    session = await AsyncSqliteClaimStore(path, **options).open_session("w")
    gc.collect()
    assert session.fileno() >= 0
    await session.close()
    assert session.fileno() == -1
    listing = AsyncSqliteClaimStore(path, **options).list_instances()
    gc.collect()
    assert [instance.instance_id async for instance in listing] == ["i"]


@on_a_loop
async def test_nothing_of_a_call_is_kept_once_it_is_done(path: str, options: dict[str, Any]) -> None:
    class Output(bytearray):
        """An object whose deletion can be observed."""

    async with AsyncSqliteClaimStore(path, **options) as store:
        await store.add_instance("i", [NewTask("t")])
        claim = await store.claim_task("i", "t", "w", 30)
        assert claim is not None

        async def complete() -> weakref.ref[Output]:
            output: Any = Output(b"large")
            with suppress(ClaimLostError):
                await store.complete_task(claim, output)
            return weakref.ref(output)

        gc.disable()  # objects outside of reference cycles are deleted without the garbage collector
        try:
            for _ in ("done", "lost"):
                kept = await complete()
                await store.check()  # now the thread has dropped the objects of the previous call
                assert kept() is None
        finally:
            gc.enable()


def test_the_loop_may_be_gone_when_the_answer_comes(path: str, options: dict[str, Any]) -> None:
    store = AsyncSqliteClaimStore(path, **options)
    hold = Hold()
    loop = asyncio.new_event_loop()
    calling = loop.create_task(store.find_available_tasks("w", 1, tags=hold))
    loop.run_until_complete(soon(hold.started))
    calling.cancel()
    loop.run_until_complete(asyncio.gather(calling, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    hold.go.set()
    assert asyncio.run(store.check()) == []
    asyncio.run(store.close())


def test_a_program_ends_with_a_call_under_way_and_its_store_open(path: str) -> None:
    said = program(
        """
        import asyncio, sys, threading
        from sqlite_claims import AsyncSqliteClaimStore, NewTask

        started = threading.Event()

        def tasks():
            yield NewTask("t")
            started.set()
            threading.Event().wait()

        async def main():
            global store, adding
            store = AsyncSqliteClaimStore(sys.argv[1])
            await store.add_instance("i")
            adding = asyncio.create_task(store.add_instance("j", tasks()))
            await asyncio.to_thread(started.wait)
            print("done")

        asyncio.run(main())
        """,
        path,
    )
    assert said == "done\n"


def test_a_program_ends_in_the_middle_of_a_transaction(path: str) -> None:
    said = program(
        """
        import asyncio, sys
        from sqlite_claims import AsyncSqliteClaimStore

        async def block(store, begun):
            async with store.transaction() as tx:
                await tx.add_instance("i")
                begun.set()
                await asyncio.Event().wait()

        async def main():
            store = AsyncSqliteClaimStore(sys.argv[1])
            begun = asyncio.Event()
            task = asyncio.create_task(block(store, begun))
            await begun.wait()

        asyncio.run(main())

        async def look():
            async with AsyncSqliteClaimStore(sys.argv[1]) as store:
                print([instance async for instance in store.list_instances()])

        asyncio.run(look())
        """,
        path,
    )
    assert said == "[]\n"


def test_both_sides_of_a_fork_go_on_with_the_same_store(path: str) -> None:
    said = program(
        """
        import asyncio, os, sys, warnings
        from sqlite_claims import AsyncSqliteClaimStore, NewTask

        # Newer Pythons warn of any fork in a process with threads. This library closes its connections before a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        store = AsyncSqliteClaimStore(sys.argv[1])
        asyncio.run(store.add_instance("i", [NewTask("t"), NewTask("u")]))

        async def work(task_id):
            claim = await store.claim_task("i", task_id, "w", 30)
            async with store.transaction() as tx:
                await tx.complete_task(claim, task_id.encode())

        child = os.fork()
        asyncio.run(work("u" if child else "t"))
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(asyncio.run(store.get_instance("i")).state)
        asyncio.run(store.close())
        """,
        path,
    )
    assert said == "completed\n"


def test_importing_the_package_imports_neither_asyncio_nor_workers() -> None:
    said = program(
        """
        import sys
        import sqlite_claims

        print([name for name in ("asyncio", "sqlite_claims.workers", "sqlite_claims.memory") if name in sys.modules])
        print(sqlite_claims.AsyncSqliteClaimStore.__name__, "asyncio" in sys.modules)
        """
    )
    assert said == "[]\nAsyncSqliteClaimStore True\n"
