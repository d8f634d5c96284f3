"""The end of a worker that runs in the test's own process, and workers whose store is busy or closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import (
    InvalidArgumentError,
    NewTask,
    StoreBusyError,
    StoreClosedError,
    TaskState,
)
from sqlite_claims.workers import PooledWorker, TaskContext

from .test_pooled import nothing, states


def test_shutdown_lets_what_runs_finish_and_starts_nothing_more(store: Any, gate: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    handle = PooledWorker(store, lambda _: gate.pass_through()).spawn()
    assert gate.reached.wait(30)
    handle.shutdown()
    assert handle.join(timeout=0.1) is None
    gate.open.set()
    summary = handle.join()
    assert (summary.reason, summary.completed) == ("stopped", 1)
    assert sorted(states(store).values()) == ["completed", "ready"]


def test_tasks_not_finished_in_time_are_given_back_at_no_cost(store: Any) -> None:
    reached, told = threading.Event(), threading.Event()

    def stubborn(task: TaskContext) -> bytes:
        reached.set()
        assert task.cancelled.wait(30)
        told.set()
        return b"too late"

    store.add_instance("i", [NewTask("t")])
    handle = PooledWorker(store, stubborn).spawn()
    assert reached.wait(30)
    handle.shutdown(timeout=0.05)
    summary = handle.join()
    assert told.wait(30)
    assert (summary.reason, summary.completed, summary.failed, summary.lost) == ("stopped", 0, 0, 0)
    info = store.get_task("i", "t")
    assert (info.state, info.attempts, info.claim) == (TaskState.READY, 0, None)


@pytest.mark.slow
def test_a_second_shutdown_shortens_the_first(store: Any, gate: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    handle = PooledWorker(store, lambda _: gate.pass_through()).spawn()
    assert gate.reached.wait(30)
    handle.shutdown()
    handle.shutdown(timeout=0)
    assert handle.join().reason == "stopped"
    assert states(store) == {"t": "ready"}


def test_an_idle_worker_stops_soon(store: Any) -> None:
    with PooledWorker(store, nothing, concurrency=4, poll_interval=3600).spawn() as handle:
        handle.shutdown()
        summary = handle.join(timeout=30)
        assert summary is not None
        assert summary.reason == "stopped"


def test_leaving_the_block_stops_the_worker(store: Any) -> None:
    with PooledWorker(store, nothing).spawn() as handle:
        pass
    assert handle.done


def test_a_stopped_worker_has_no_session_and_no_thread(store: Any) -> None:
    before = threading.active_count()
    store.add_instance("i", [NewTask("t")])
    PooledWorker(store, nothing, concurrency=3).run(until_idle=True)
    assert list(store.list_workers()) == []
    for thread in threading.enumerate():
        if thread.name.startswith("claims-"):
            thread.join(30)
    assert threading.active_count() <= before


def test_a_result_waits_for_a_store_that_is_busy(store: Any, spy: Any) -> None:
    busy = iter([StoreBusyError("busy"), StoreBusyError("busy")])

    def complete(really: Callable[..., Any], *args: Any) -> Any:
        for error in busy:
            raise error
        return really(*args)

    store.add_instance("i", [NewTask("t")])
    assert PooledWorker(spy(store, complete_tasks=complete), nothing).run(until_idle=True).completed == 1
    assert store.get_task("i", "t").attempts == 1


def test_a_busy_store_keeps_nobody_from_claiming_later(store: Any, spy: Any) -> None:
    busy = iter([StoreBusyError("busy")])

    def claim(really: Callable[..., Any], *args: Any, **options: Any) -> Any:
        for error in busy:
            raise error
        return really(*args, **options)

    store.add_instance("i", [NewTask("t")])
    assert PooledWorker(spy(store, claim_available_tasks=claim), nothing).run(until_idle=True).completed == 1


def test_a_result_too_large_for_the_store_fails_its_own_task_alone(store: Any, spy: Any) -> None:
    def complete(really: Callable[..., Any], results: Any) -> Any:
        if any(len(output) > 10 for _, output in results):
            raise InvalidArgumentError("a value is larger than SQLite can store")
        return really(results)

    store.add_instance("i", [NewTask(f"t{n}", b"x" * n, max_attempts=1) for n in range(12)])
    worker = PooledWorker(spy(store, complete_tasks=complete), lambda task: task.input)
    summary = worker.run(until_idle=True)
    assert (summary.completed, summary.failed) == (11, 1)
    assert "the result cannot be stored: a value is larger" in store.get_task("i", "t11").error


def test_a_store_that_is_closed_ends_the_run_with_its_error(store: Any, gate: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    handle = PooledWorker(store, lambda _: gate.pass_through()).spawn()
    assert gate.reached.wait(30)
    store.close()
    gate.open.set()
    with pytest.raises(StoreClosedError):
        handle.join()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"worker_id": ""}, "worker_id"),
        ({"claim_ttl": 0}, "claim_ttl"),
        ({"claim_ttl": 10, "heartbeat_interval": 10}, "heartbeat_interval"),
        ({"tags": "gpu"}, "tags"),
        ({"batch_size": 0}, "batch_size"),
        ({"poll_interval": 0}, "poll_interval"),
        ({"task_timeout": 0}, "task_timeout"),
        ({"shutdown_timeout": -1}, "shutdown_timeout"),
    ],
)
def test_an_argument_without_sense_is_refused_by_name(store: Any, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        PooledWorker(store, nothing, **options)


def test_two_workers_have_two_names(store: Any) -> None:
    assert PooledWorker(store, nothing).worker_id != PooledWorker(store, nothing).worker_id
