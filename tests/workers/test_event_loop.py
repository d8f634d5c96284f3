"""Coroutines that stop the event loop, break it, or cancel all its tasks, while other coroutines use the same loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sqlite_claims import NewTask, RetryPolicy, TaskState
from sqlite_claims.workers import CheckpointingRunner, PooledWorker, TaskContext, WorkerStartError

from ..tiers import first_is_fast


def break_the_loop() -> None:
    """Break the loop in the same way as a closed descriptor of the loop."""

    def select(_: float | None) -> None:
        raise OSError(9, "Bad file descriptor")

    loop: Any = asyncio.get_running_loop()
    loop._selector.select = select


class Meeting:
    """Make the harmful task wait until another coroutine runs on the same loop."""

    def __init__(self) -> None:
        self.is_there = threading.Event()

    async def __call__(self, task: TaskContext) -> bytes:
        if task.task_id == "harm":
            while not self.is_there.is_set():  # noqa: ASYNC110 - the event may be set on a different loop
                await asyncio.sleep(0.001)
            await self.do_harm()
            return b"done harm"
        self.is_there.set()
        for _ in range(20):
            await asyncio.sleep(0.005)
            assert await asyncio.to_thread(lambda: b"alive") == b"alive"
        return b"done"

    async def do_harm(self) -> None:
        raise NotImplementedError


class Exits(Meeting):
    async def do_harm(self) -> None:
        async def leave() -> None:
            raise SystemExit(3)

        asyncio.create_task(leave())  # noqa: RUF006
        await asyncio.sleep(0.01)


class CallsBackAnExit(Meeting):
    async def do_harm(self) -> None:
        asyncio.get_running_loop().call_soon(exec, "raise KeyboardInterrupt")
        await asyncio.sleep(0.01)


class Stops(Meeting):
    async def do_harm(self) -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)


class CancelsAll(Meeting):
    async def do_harm(self) -> None:
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()


class ShutsDownTheExecutor(Meeting):
    async def do_harm(self) -> None:
        await asyncio.get_running_loop().shutdown_default_executor()


class ShutsDownItsOwnExecutor(Meeting):
    async def do_harm(self) -> None:
        with ThreadPoolExecutor(1) as executor:
            asyncio.get_running_loop().set_default_executor(executor)


class BreaksTheSelector(Meeting):
    """Break the loop's selector once. When the task is retried, the task runs on a new loop."""

    broken = False

    async def do_harm(self) -> None:
        if not self.broken:
            self.broken = True
            break_the_loop()
            await asyncio.sleep(0)


HARM = [Exits, CallsBackAnExit, Stops, CancelsAll, ShutsDownTheExecutor, ShutsDownItsOwnExecutor, BreaksTheSelector]


@pytest.mark.parametrize("kind", first_is_fast(HARM))
def test_no_other_task_pays_for_the_loop_that_a_coroutine_ends(store: Any, kind: type[Meeting]) -> None:
    tasks = [NewTask("harm", priority=1, max_attempts=1), *(NewTask(f"t{n}", max_attempts=1) for n in range(4))]
    store.add_instance("i", tasks)
    summary = PooledWorker(store, kind(), concurrency=2).run(until_idle=True)
    assert (summary.reason, summary.completed, summary.failed, summary.lost) == ("idle", 5, 0, 0)
    assert {(task.state, task.attempts) for task in store.list_tasks("i")} == {(TaskState.COMPLETED, 1)}


def test_a_task_that_cancels_itself_has_failed(store: Any) -> None:
    async def cancel(_: TaskContext) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(30)

    store.add_instance("i", [NewTask("t", max_attempts=2, retry=RetryPolicy(initial_delay=0))])
    assert PooledWorker(store, cancel).run(until_idle=True).failed == 2


def test_a_timeout_within_a_coroutine_is_its_own(store: Any) -> None:
    async def wait(_: TaskContext) -> bytes:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            return b"in time"
        return b""

    store.add_instance("i", [NewTask("t")])
    assert PooledWorker(store, wait).run(until_idle=True).completed == 1


def test_a_task_that_breaks_every_loop_ends_the_run_and_is_given_back(store: Any) -> None:
    async def handler(_: TaskContext) -> None:
        break_the_loop()
        await asyncio.sleep(0)

    store.add_instance("i", [NewTask("t", max_attempts=1)])
    with pytest.raises(WorkerStartError, match="event loops in a row"):
        PooledWorker(store, handler).run(until_idle=True)
    with pytest.raises(WorkerStartError, match="event loops in a row"):
        CheckpointingRunner(store, handler).run("i")
    task = store.get_task("i", "t")
    assert (task.state, task.attempts, task.failures, task.losses) == (TaskState.READY, 0, 0, 0)


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), OSError(24, "Too many open files")])
def test_if_no_event_loop_can_be_made_the_run_ends_and_no_task_pays(
    store: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse() -> None:
        raise error

    async def never(_: TaskContext) -> None:
        raise AssertionError

    monkeypatch.setattr(asyncio, "new_event_loop", refuse)
    store.add_instance("i", [NewTask("t", max_attempts=1)])
    with pytest.raises(WorkerStartError, match=str(error).replace("[", r"\[")):
        PooledWorker(store, never).run(until_idle=True)
    with pytest.raises(WorkerStartError):
        CheckpointingRunner(store, never).run("i")
    task = store.get_task("i", "t")
    assert (task.state, task.attempts, task.failures, task.losses) == (TaskState.READY, 0, 0, 0)


@pytest.mark.slow
def test_a_coroutine_that_blocks_its_loop_after_its_end_leaves_the_next_ones_another(store: Any, gate: Any) -> None:
    async def block(task: TaskContext) -> bytes:
        if task.task_id == "block":
            gate.pass_through()
        return b"done"

    store.add_instance("i", [NewTask("block", priority=1, max_attempts=1), NewTask("next", max_attempts=1)])
    summary = PooledWorker(store, block, task_timeout=0.5).run(until_idle=True)
    assert (summary.completed, summary.failed) == (1, 1)
    assert store.get_task("i", "next").state is TaskState.COMPLETED
