"""A task's own timeout comes before the timeout of the worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sqlite_claims import NewTask, RetryPolicy, TaskState
from sqlite_claims.workers import CheckpointingRunner, PooledWorker, TaskContext, TaskRegistry

AT_ONCE = RetryPolicy(initial_delay=0)


def pooled(store: Any, handlers: Any) -> None:
    PooledWorker(store, handlers, poll_interval=60).run(until_idle=True)


def in_runner(store: Any, handlers: Any) -> None:
    CheckpointingRunner(store, handlers).run("i")


@pytest.fixture(params=[pooled, in_runner])
def run(request: pytest.FixtureRequest) -> Callable[[Any, Any], None]:
    found: Callable[[Any, Any], None] = request.param
    return found


def until_cancelled(task: TaskContext) -> bytes:
    assert task.cancelled.wait(30)
    return b"late"


async def forever(_: TaskContext) -> bytes:
    await asyncio.sleep(30)
    return b"late"


@pytest.mark.parametrize("handler", [until_cancelled, forever])
def test_an_attempt_that_exceeds_the_tasks_timeout_has_failed(store: Any, run: Any, handler: Any) -> None:
    tasks = [NewTask("slow", timeout=0.05, max_attempts=2, retry=AT_ONCE), NewTask("after", kind="quick")]
    store.add_instance("i", tasks)
    run(store, {"*": handler, "quick": lambda _: b"done"})
    info = store.get_task("i", "slow")
    assert (info.state, info.failures, info.error) == (TaskState.FAILED, 2, "timed out after 0.05 s")
    assert [attempt.outcome for attempt in store.list_attempts("i", "slow")] == ["timed out"] * 2
    assert store.get_task("i", "after").state is TaskState.COMPLETED


def test_a_failed_attempt_may_be_retried_after_its_timeout(store: Any, run: Any) -> None:
    def handler(task: TaskContext) -> bytes:
        return until_cancelled(task) if task.attempt == 1 else b"in time"

    store.add_instance("i", [NewTask("t", timeout=0.05, retry=AT_ONCE)])
    run(store, handler)
    info = store.get_task("i", "t")
    assert (info.state, info.output, info.failures) == (TaskState.COMPLETED, b"in time", 1)


def test_the_tasks_timeout_comes_before_the_workers(store: Any) -> None:
    own = threading.Event()

    def handler(task: TaskContext) -> bytes:
        if task.task_id == "short":
            own.set()
            return until_cancelled(task)
        assert own.wait(30)
        assert not task.cancelled.wait(0.3)
        return b"done"

    store.add_instance("i", [NewTask("long", timeout=60), NewTask("short", max_attempts=1)])
    PooledWorker(store, handler, concurrency=2, task_timeout=0.1).run(until_idle=True)
    assert store.get_task("i", "long").output == b"done"
    assert store.get_task("i", "short").error == "timed out after 0.1 s"


def test_a_short_timeout_is_kept_beside_a_long_one_of_the_worker(store: Any) -> None:
    store.add_instance("i", [NewTask("t", timeout=0.05, max_attempts=1)])
    PooledWorker(store, until_cancelled, task_timeout=3600, poll_interval=3600).run(until_idle=True)
    assert store.get_task("i", "t").error == "timed out after 0.05 s"


def test_the_context_shows_timeout_and_metadata(store: Any, run: Any) -> None:
    seen: dict[str, tuple[float | None, dict[str, str]]] = {}

    def handler(task: TaskContext) -> None:
        seen[task.task_id] = task.timeout, dict(task.metadata)

    tasks = [NewTask("t", timeout=timedelta(minutes=1), metadata={"trace": "1f"}), NewTask("u")]
    store.add_instance("i", tasks)
    run(store, handler)
    assert seen == {"t": (60.0, {"trace": "1f"}), "u": (None, {})}


def test_the_decorator_sets_the_timeout_of_new_tasks(store: Any, run: Any) -> None:
    registry = TaskRegistry()

    @registry.task("k", codec="json", timeout=60, metadata={"a": "b"})
    def handler(task: TaskContext) -> float | None:
        return task.timeout

    task = handler.new("t")
    assert (task.timeout, task.metadata) == (60, {"a": "b"})
    store.add_instance("i", [task, handler.options(timeout=None).new("u")])
    run(store, registry)
    assert [handler.result(info) for info in store.list_tasks("i")] == [60.0, None]


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": -1}, {"metadata": {"a": 1}}])
def test_bad_options_are_refused_by_the_decorator(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        TaskRegistry().task("k", **options)
