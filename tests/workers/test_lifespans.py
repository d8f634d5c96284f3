"""Lifespans of a worker in the test's own process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, NewTask, RunSummary, StopWorker, TaskState
from sqlite_claims.workers import CheckpointingRunner, PooledWorker, TaskContext, TaskRegistry, WorkerStartError


def pooled(store: Any, registry: TaskRegistry) -> RunSummary:
    return PooledWorker(store, registry).run(until_idle=True)


def in_runner(store: Any, registry: TaskRegistry) -> object:
    return CheckpointingRunner(store, registry).run("i")


Run = Callable[[Any, TaskRegistry], object]


@pytest.fixture(params=[pooled, in_runner])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.param
    return found


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def registry(store: Any, notes: list[str]) -> TaskRegistry:
    """Return a registry whose handlers note their calls. The store has two tasks for the registry."""
    found = TaskRegistry()

    @found.task("plain")
    def plain(task: TaskContext) -> None:
        notes.append(task.task_id)

    @found.task("coroutine")
    async def coroutine(task: TaskContext) -> None:
        await asyncio.sleep(0)
        notes.append(task.task_id)

    store.add_instance("i", [NewTask("first", kind="plain"), NewTask("second", kind="coroutine")])
    return found


def add_lifespan(registry: TaskRegistry, name: str, notes: list[str], *, fails: str = "") -> None:
    @registry.lifespan
    def lifespan() -> Iterator[None]:
        notes.append(f"enter {name}")
        if fails == "enter":
            raise ValueError(f"{name} cannot be entered")
        yield
        notes.append(f"leave {name}")
        if fails == "leave":
            raise ValueError(f"{name} cannot be left")


def add_async_lifespan(registry: TaskRegistry, name: str, notes: list[str], *, fails: str = "") -> None:
    @registry.lifespan
    async def lifespan() -> AsyncIterator[str]:
        notes.append(f"enter {name}")
        await asyncio.sleep(0)
        if fails == "enter":
            raise ValueError(f"{name} cannot be entered")
        yield "ignored"
        await asyncio.sleep(0)
        notes.append(f"leave {name}")
        if fails == "leave":
            raise ValueError(f"{name} cannot be left")


ADD = [add_lifespan, add_async_lifespan]


def test_lifespans_nest_in_the_order_of_their_decoration_around_all_tasks(
    store: Any, run: Run, registry: TaskRegistry, notes: list[str]
) -> None:
    other = TaskRegistry()
    add_lifespan(registry, "a", notes)
    add_async_lifespan(registry, "b", notes)
    add_async_lifespan(other, "c", notes)
    registry.include(other)
    add_lifespan(registry, "d", notes)
    run(store, registry)
    assert notes == [
        *["enter a", "enter b", "enter c", "enter d", "first", "second", "leave d", "leave c", "leave b", "leave a"]
    ]


def test_each_run_enters_the_lifespans_anew(store: Any, run: Run, registry: TaskRegistry, notes: list[str]) -> None:
    add_lifespan(registry, "a", notes)
    run(store, registry)
    run(store, registry)
    assert notes == ["enter a", "first", "second", "leave a", "enter a", "leave a"]


def test_an_included_lifespan_runs_once_though_it_comes_along_twice(
    store: Any, registry: TaskRegistry, notes: list[str]
) -> None:
    common, left, right = TaskRegistry(), TaskRegistry(), TaskRegistry()
    add_lifespan(common, "common", notes)
    left.include(common)
    right.include(common)
    registry.include(left)
    registry.include(right)
    pooled(store, registry)
    assert notes.count("enter common") == 1


def test_an_async_lifespan_runs_on_the_loop_of_the_coroutine_handlers(store: Any, run: Run) -> None:
    registry = TaskRegistry()
    found: list[object] = []

    async def background() -> None:
        found.append("background")

    @registry.lifespan
    async def lifespan() -> AsyncIterator[None]:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(background())
            found.append(asyncio.get_running_loop())
            yield
            found.append(asyncio.get_running_loop())

    @registry.task("k")
    async def handler(_: TaskContext) -> None:
        found.append(asyncio.get_running_loop())

    store.add_instance("i", [handler.new("t")])
    run(store, registry)
    found.remove("background")
    assert len(found) == 3
    assert len(set(found)) == 1


@pytest.mark.parametrize("add", ADD)
def test_a_lifespan_that_fails_before_its_yield_ends_the_run_with_its_error(
    store: Any, run: Run, registry: TaskRegistry, notes: list[str], add: Any
) -> None:
    add_lifespan(registry, "a", notes, fails="leave")
    add_async_lifespan(registry, "b", notes)
    add(registry, "c", notes, fails="enter")
    add_lifespan(registry, "d", notes)
    with pytest.raises(ValueError, match="c cannot be entered"):
        run(store, registry)
    assert notes == ["enter a", "enter b", "enter c", "leave b", "leave a"]
    assert store.get_task("i", "first").attempts == 0
    assert not list(store.list_workers())


@pytest.mark.parametrize("add", ADD)
def test_a_lifespan_that_fails_after_its_yield_ends_the_run_with_its_error(
    store: Any, run: Run, registry: TaskRegistry, notes: list[str], add: Any
) -> None:
    add_lifespan(registry, "a", notes)
    add(registry, "b", notes, fails="leave")
    with pytest.raises(ValueError, match="b cannot be left"):
        run(store, registry)
    assert notes == ["enter a", "enter b", "first", "second", "leave b", "leave a"]
    assert store.get_task("i", "second").state is TaskState.COMPLETED


def test_of_several_errors_at_the_end_the_first_is_raised_and_the_others_are_logged(
    store: Any, run: Run, registry: TaskRegistry, notes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    add_async_lifespan(registry, "a", notes, fails="leave")
    add_lifespan(registry, "b", notes, fails="leave")
    with pytest.raises(ValueError, match="b cannot be left"):
        run(store, registry)
    assert "a lifespan failed at the end of the run: ValueError('a cannot be left')" in caplog.text


@pytest.mark.parametrize("add", ADD)
@pytest.mark.parametrize("error", [StopWorker, KeyboardInterrupt])
def test_lifespans_are_left_when_a_handler_ends_the_run(
    store: Any, registry: TaskRegistry, notes: list[str], add: Any, error: type[BaseException]
) -> None:
    add(registry, "a", notes)

    @registry.task("stop")
    def stop(_: TaskContext) -> None:
        raise error

    store.add_instance("j", [stop.options(priority=1).new("t")])
    reason = "stopped" if error is StopWorker else "interrupted"
    assert PooledWorker(store, registry).run().reason == reason
    assert notes == ["enter a", "leave a"]
    notes.clear()
    with pytest.raises(error):
        CheckpointingRunner(store, registry).run("j")
    assert notes == ["enter a", "leave a"]
    assert store.get_task("j", "t").state is TaskState.READY


def test_lifespans_are_left_when_the_store_fails(
    store: Any, run: Run, registry: TaskRegistry, notes: list[str], spy: Any
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("gone")

    add_lifespan(registry, "a", notes, fails="leave")
    with pytest.raises(OSError, match="gone"):
        run(spy(store, open_session=refuse), registry)
    assert notes == ["enter a", "leave a"]


def test_lifespans_are_left_after_shutdown(store: Any, registry: TaskRegistry, notes: list[str]) -> None:
    add_lifespan(registry, "a", notes)
    add_async_lifespan(registry, "b", notes)
    with PooledWorker(store, registry).spawn() as handle:
        handle.shutdown()
        assert handle.join().reason == "stopped"
    assert notes[:2] == ["enter a", "enter b"]
    assert notes[-2:] == ["leave b", "leave a"]


@pytest.mark.parametrize("yields", [0, 2])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_lifespan_has_exactly_one_yield(store: Any, run: Run, yields: int, is_async: bool) -> None:
    registry = TaskRegistry()
    registry.task("k")(lambda _: None)
    store.add_instance("i", [])

    def lifespan() -> Iterator[None]:
        for _ in range(yields):
            yield

    async def async_lifespan() -> AsyncIterator[None]:
        for _ in range(yields):
            yield

    registry.lifespan(async_lifespan if is_async else lifespan)
    with pytest.raises(RuntimeError, match=r"generator didn't (yield|stop)"):
        run(store, registry)


def test_a_handler_that_cancels_all_asyncio_tasks_does_not_end_a_lifespan(store: Any, notes: list[str]) -> None:
    registry = TaskRegistry()
    add_async_lifespan(registry, "a", notes)

    @registry.task("k")
    async def cancel(_: TaskContext) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.01)
        notes.append("cancelled")

    store.add_instance("i", [cancel.new("t")])
    assert pooled(store, registry).completed == 1
    assert notes == ["enter a", "cancelled", "leave a"]


def test_a_worker_whose_lifespans_lost_their_loop_ends_its_run(store: Any, notes: list[str]) -> None:
    registry = TaskRegistry()
    add_lifespan(registry, "a", notes)
    add_async_lifespan(registry, "b", notes)

    @registry.task("k", max_attempts=1)
    async def break_loop(_: TaskContext) -> None:
        def select(_: float | None) -> None:
            raise OSError(9, "Bad file descriptor")

        loop: Any = asyncio.get_running_loop()
        loop._selector.select = select
        await asyncio.sleep(0)

    store.add_instance("i", [break_loop.new("t")])
    with pytest.raises(WorkerStartError, match="the event loop in which the lifespans were entered is blocked or brok"):
        pooled(store, registry)
    assert notes == ["enter a", "enter b", "leave a"]
    assert store.get_task("i", "t").state is TaskState.READY


def test_a_blocked_loop_does_not_keep_a_worker_from_leaving_its_other_lifespans(
    store: Any, notes: list[str], gate: Any
) -> None:
    registry = TaskRegistry()
    add_lifespan(registry, "a", notes)
    add_async_lifespan(registry, "b", notes)

    @registry.task("k", max_attempts=1)
    async def block(_: TaskContext) -> None:
        gate.pass_through()

    store.add_instance("i", [block.new("t")])
    handle = PooledWorker(store, registry).spawn()
    assert gate.reached.wait(30)
    handle.shutdown(0)
    with pytest.raises(WorkerStartError, match="a lifespan did not end, because its event loop is blocked or broken"):
        handle.join()
    assert notes == ["enter a", "enter b", "leave a"]


def test_a_lifespan_runs_on_the_thread_of_the_run(store: Any) -> None:
    """``CheckpointingRunner`` uses the caller's thread, so that a lifespan can, for example, set signal handlers."""
    registry = TaskRegistry()
    threads: list[threading.Thread] = []

    @registry.lifespan
    def lifespan() -> Iterator[None]:
        threads.append(threading.current_thread())
        yield
        threads.append(threading.current_thread())

    registry.task("k")(lambda _: None)
    store.add_instance("i", [])
    in_runner(store, registry)
    assert threads == [threading.current_thread()] * 2


@pytest.mark.parametrize("bad", [lambda: None, 1, TaskRegistry, "name"])
def test_only_generator_functions_can_be_lifespans(bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="a lifespan must be a generator function"):
        TaskRegistry().lifespan(bad)


def test_a_lifespan_with_arguments_is_refused() -> None:
    def lifespan(_: int) -> Iterator[None]:
        yield

    with pytest.raises(InvalidArgumentError, match="a lifespan must have no arguments"):
        TaskRegistry().lifespan(lifespan)  # type: ignore[type-var]
