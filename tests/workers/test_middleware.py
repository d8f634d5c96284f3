"""Middleware, ``include`` and ``current_task``."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, InvalidStateError, NewTask, TaskState, current_task
from sqlite_claims.workers import CheckpointingRunner, PooledWorker, TaskContext, TaskRegistry
from sqlite_claims.workers.registry import HandlerTable

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id")


def pooled(store: Any, handlers: Any) -> None:
    PooledWorker(store, handlers).run(until_idle=True)


def in_runner(store: Any, handlers: Any) -> None:
    CheckpointingRunner(store, handlers).run("i")


@pytest.fixture(params=[pooled, in_runner])
def run(request: pytest.FixtureRequest) -> Callable[[Any, Any], None]:
    found: Callable[[Any, Any], None] = request.param
    return found


def noting(registry: TaskRegistry, name: str, notes: list[str]) -> None:
    """Add a middleware that notes the start and the end of each call."""

    @registry.middleware
    def note(call_next: Any, context: TaskContext) -> object:
        notes.append(f"{name} before {context.task_id}")
        result = call_next(context)
        notes.append(f"{name} after {result!r}")
        return result


# -- middleware


def test_the_first_middleware_is_the_outermost_and_gets_the_result_before_it_is_encoded(store: Any, run: Any) -> None:
    notes: list[str] = []
    registry = TaskRegistry()
    noting(registry, "outer", notes)

    @registry.task("k", codec="json")
    def double(value: int) -> list[int]:
        return [value, value]

    noting(registry, "inner", notes)
    store.add_instance("i", [double.new("t", 4)])
    run(store, registry)
    assert notes == ["outer before t", "inner before t", "inner after [4, 4]", "outer after [4, 4]"]
    assert store.get_task("i", "t").output == b"[4,4]"


def test_a_middleware_can_change_the_result_or_raise(store: Any, run: Any) -> None:
    registry = TaskRegistry()

    @registry.middleware
    def change(call_next: Any, context: TaskContext) -> object:
        if context.task_id == "bad":
            raise ValueError("refused")
        return call_next() + b"!"

    @registry.task("k")
    def handler(task: TaskContext) -> bytes:
        return task.input

    store.add_instance("i", [handler.new("good", b"x"), handler.options(max_attempts=1).new("bad", b"y")])
    run(store, registry)
    assert store.get_task("i", "good").output == b"x!"
    assert store.get_task("i", "bad").error.startswith("ValueError: refused")


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_a_coroutine_handler_gives_its_middleware_an_awaitable(store: Any, run: Any, is_coroutine: bool) -> None:
    registry = TaskRegistry()
    results: list[object] = []

    if is_coroutine:

        @registry.middleware
        async def wait(call_next: Any, context: TaskContext) -> object:
            result = await call_next(context)
            results.append(result)
            return result

    else:

        @registry.middleware
        def pass_on(call_next: Any, context: TaskContext) -> object:
            request_id.set(context.task_id)
            return call_next(context)

    @registry.task("k", codec="json")
    async def handler(value: int) -> str:
        await asyncio.sleep(0)
        return f"{value} {request_id.get('none')}"

    store.add_instance("i", [handler.new("t", 1)])
    run(store, registry)
    expected = "1 none" if is_coroutine else "1 t"
    assert handler.result(store.get_task("i", "t")) == expected
    assert results == ([expected] if is_coroutine else [])


def test_without_middleware_the_worker_calls_the_function_itself() -> None:
    registry = TaskRegistry()

    def handler(task: TaskContext) -> None: ...

    registry.task("k")(handler)
    assert HandlerTable(registry).find("k") is handler


def test_a_middleware_that_is_not_callable_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="a middleware must be callable"):
        TaskRegistry().middleware(1)  # type: ignore[type-var]


# -- include


def test_included_handlers_run_within_their_own_middleware_inside_this_registrys(store: Any, run: Any) -> None:
    notes: list[str] = []
    root, branch, leaf = TaskRegistry(), TaskRegistry(), TaskRegistry()
    for name, registry in (("root", root), ("branch", branch), ("leaf", leaf)):
        noting(registry, name, notes)
        registry.task(name)(lambda task: task.input)
    branch.include(leaf)
    root.include(branch)
    store.add_instance("i", [NewTask("t", b"x", kind="leaf")])
    run(store, root)
    assert notes[:3] == ["root before t", "branch before t", "leaf before t"]
    notes.clear()
    store.add_instance("j", [NewTask("u", b"x", kind="root")])
    CheckpointingRunner(store, root).run("j")
    assert notes == ["root before u", "root after b'x'"]


def test_include_takes_the_kinds_as_they_are_then() -> None:
    root, other = TaskRegistry(), TaskRegistry()
    other.task("a")(lambda _: None)
    root.include(other)
    other.task("b")(lambda _: None)
    assert list(root) == ["a"]
    assert root["a"] is other["a"]


def test_including_a_kind_twice_is_refused_and_includes_nothing() -> None:
    root, other = TaskRegistry(), TaskRegistry()
    root.task("b")(lambda _: None)
    other.task("a")(lambda _: None)
    other.task("b")(lambda _: None)
    noting(other, "other", [])
    with pytest.raises(InvalidArgumentError, match="kind 'b' has a handler already"):
        root.include(other)
    assert list(root) == ["b"]
    with pytest.raises(InvalidArgumentError, match="other must be a TaskRegistry"):
        root.include({})  # type: ignore[arg-type]


# -- current_task


def test_current_task_is_the_context_from_any_depth(store: Any, run: Any) -> None:
    def handler(task: TaskContext) -> bytes:
        found = [current_task()]
        thread = threading.Thread(target=contextvars.copy_context().run, args=(lambda: found.append(current_task()),))
        thread.start()
        thread.join()
        assert found == [task, task]
        return b"same"

    store.add_instance("i", [NewTask("t")])
    run(store, handler)
    assert store.get_task("i", "t").output == b"same"


def test_current_task_works_in_coroutines_and_in_what_they_start(store: Any, run: Any) -> None:
    async def deep() -> TaskContext:
        await asyncio.sleep(0)
        return current_task()

    async def handler(task: TaskContext) -> bytes:
        found = [current_task(), await deep(), await asyncio.create_task(deep()), await asyncio.to_thread(current_task)]
        assert found == [task] * 4
        return b"same"

    store.add_instance("i", [NewTask("t"), NewTask("u")])
    run(store, handler)
    assert {task.output for task in store.list_tasks("i")} == {b"same"}


def test_each_of_several_coroutines_on_one_loop_has_its_own_task(store: Any) -> None:
    met = threading.Barrier(2)

    async def handler(_: TaskContext) -> bytes:
        await asyncio.to_thread(met.wait, 30)
        return current_task().task_id.encode()

    store.add_instance("i", [NewTask("a"), NewTask("b")])
    PooledWorker(store, handler, concurrency=2).run(until_idle=True)
    assert [task.output for task in store.list_tasks("i")] == [b"a", b"b"]


def test_middleware_runs_within_the_task(store: Any, run: Any) -> None:
    registry = TaskRegistry()

    @registry.middleware
    def check(call_next: Any, context: TaskContext) -> object:
        assert current_task() is context
        return call_next(context)

    registry.task("k")(lambda _: b"")
    store.add_instance("i", [NewTask("t", kind="k", max_attempts=1)])
    run(store, registry)
    assert store.get_task("i", "t").state is TaskState.COMPLETED


def test_outside_of_a_handler_there_is_no_current_task(store: Any, run: Any) -> None:
    with pytest.raises(InvalidStateError, match="outside of a handler"):
        current_task()
    store.add_instance("i", [NewTask("t")])
    run(store, lambda _: None)
    with pytest.raises(InvalidStateError, match="outside of a handler"):
        current_task()
