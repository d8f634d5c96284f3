"""Errors of the worker itself, and errors caused by global settings that a handler has changed. Such errors do not
count as failures or losses of tasks."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import NewTask, StoreUnavailableError, TaskState
from sqlite_claims.workers import CheckpointingRunner, PooledWorker, TaskContext, WorkerStartError

TROUBLE = [MemoryError(), RecursionError(), StoreUnavailableError("unable to open: too many open files")]


def nothing(_: TaskContext) -> None: ...


def costs(store: Any) -> set[tuple[int, int]]:
    """Return the failures and losses of all tasks, after a different worker has searched for work."""
    store.find_available_tasks("somebody", 1)
    assert list(store.list_claims()) == []
    return {(task.failures, task.losses) for task in store.list_tasks("i")}


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda error: type(error).__name__)
def test_when_results_cannot_be_stored_at_first_the_run_ends_and_nothing_is_lost(
    store: Any, spy: Any, trouble: Exception
) -> None:
    troubles = iter([trouble])

    def complete(really: Callable[..., Any], *args: Any) -> Any:
        for error in troubles:
            raise error
        return really(*args)

    store.add_instance("i", [NewTask(f"t{n}", max_attempts=1, max_lost=1) for n in range(300)])
    with pytest.raises(type(trouble)):
        PooledWorker(spy(store, complete_tasks=complete), nothing).run(until_idle=True)
    assert costs(store) == {(0, 0)}
    assert store.get_instance("i").counts[TaskState.READY] > 0
    assert store.get_instance("i").counts[TaskState.COMPLETED] > 0


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda error: type(error).__name__)
def test_trouble_amid_a_batch_ends_the_run_and_all_of_it_is_given_back(
    store: Any, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    def fail(_: Any) -> None:
        raise trouble

    monkeypatch.setattr("sqlite_claims.workers.slot._count_held_together", fail)
    store.add_instance("i", [NewTask(f"t{n}", max_lost=1) for n in range(3)])
    with pytest.raises(type(trouble)):
        PooledWorker(store, nothing).run(until_idle=True)
    assert costs(store) == {(0, 0)}
    assert store.get_instance("i").counts[TaskState.READY] == 3


@pytest.mark.parametrize("name", ["claims-worker", "claims-slot-0", "claims-slot-1"])
def test_a_worker_that_gets_no_thread_says_so_and_holds_nothing(
    store: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    really = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith(name):
            raise RuntimeError("can't start new thread")
        really(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    store.add_instance("i", [NewTask(f"t{n}", max_attempts=1, max_lost=1) for n in range(10)])
    with pytest.raises(WorkerStartError, match="can't start new thread"):
        PooledWorker(store, nothing, concurrency=2).run(until_idle=True)
    assert costs(store) == {(0, 0)}


def test_a_runner_that_gets_no_thread_says_so_and_has_no_session(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    store.add_instance("i", [NewTask("t")])
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(WorkerStartError, match="can't start new thread"):
        CheckpointingRunner(store, nothing).run("i")
    assert list(store.list_workers()) == []


def test_a_handler_that_leaves_too_little_room_for_calls_does_not_end_the_worker(store: Any) -> None:
    limit = sys.getrecursionlimit()

    def leave_no_room(_: TaskContext) -> None:
        depth, frame = 0, sys._getframe()
        while frame.f_back is not None:
            depth, frame = depth + 1, frame.f_back
        sys.setrecursionlimit(depth + 5)

    store.add_instance("i", [NewTask("t"), NewTask("u", kind="other")])
    summary = PooledWorker(store, {"*": leave_no_room, "other": nothing}).run(until_idle=True)
    assert (summary.completed, summary.failed, summary.lost) == (2, 0, 0)
    assert sys.getrecursionlimit() == limit


def test_a_log_handler_that_exits_ends_no_worker(store: Any) -> None:
    class Exits(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            raise SystemExit(3)

    logger = logging.getLogger("sqlite_claims.tasks")
    exits = Exits()
    logger.addHandler(exits)
    try:
        store.add_instance("i", [NewTask("t", max_attempts=1), NewTask("u", kind="other")])
        handlers: Any = {"*": lambda _: 7, "other": nothing}
        summary = PooledWorker(store, handlers).run(until_idle=True)
    finally:
        logger.removeHandler(exits)
    assert (summary.completed, summary.failed) == (1, 1)


def test_an_exception_of_a_class_that_cannot_even_be_named_is_a_failure(store: Any) -> None:
    class Nameless(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise SystemExit(4)

    class OddError(Exception, metaclass=Nameless): ...

    def raise_it(_: TaskContext) -> None:
        raise OddError

    store.add_instance("i", [NewTask("t", max_attempts=1)])
    assert PooledWorker(store, raise_it).run(until_idle=True).failed == 1
    assert "cannot be described" in store.get_task("i", "t").error
