"""Lifespans, middleware and codecs in the processes of a pool."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, TaskRegistry
from sqlite_claims.workers import WorkerPool, WorkerStartError

from .pool_runs import Pools, pools

__all__ = ["pools"]

PATH = "lifespan_handlers:registry"


@pytest.fixture
def handlers(pools: Pools) -> Any:
    assert pools
    return import_module("lifespan_handlers")


@pytest.mark.parametrize("how", ["path", "registry"])
def test_lifespans_run_once_in_each_process_around_its_tasks(pools: Pools, handlers: Any, how: str) -> None:
    pools.store.add_instance("i", [handlers.gated.new("a"), handlers.gated.new("b")])
    pool = WorkerPool(pools.path, PATH if how == "path" else handlers.registry, processes=2)
    with pool.spawn(until_idle=True) as handle:
        heard = [pools.hear() for _ in range(6)]
        pools.open_gate()
        assert handle.join().completed == 2
        heard += [pools.hear() for _ in range(4)]
    processes = {pid for _, pid in heard}
    assert len(processes) == 2
    for process in processes:
        names = [name for name, pid in heard if pid == process]
        assert names == ["enter-outer", "enter-inner", "gated", "leave-inner", "leave-outer"]
    assert {handlers.gated.result(task) for task in pools.store.list_tasks("i")} == processes


@pytest.mark.parametrize("how", ["path", "registry"])
def test_codecs_middleware_and_current_task_work_in_the_processes(pools: Pools, handlers: Any, how: str) -> None:
    pools.store.add_instance("i", [handlers.double.new("t", 4)])
    WorkerPool(pools.path, PATH if how == "path" else handlers.registry, processes=1).run(until_idle=True)
    assert handlers.double.result(pools.task("t")) == [4, 4, "t", 1]


def test_decorated_functions_without_their_registry_keep_their_codecs(pools: Pools, handlers: Any) -> None:
    pools.store.add_instance("i", [handlers.double.new("t", 4)])
    WorkerPool(pools.path, {"double": handlers.double}, processes=1).run(until_idle=True)
    assert handlers.double.result(pools.task("t")) == [4, 4, "t"]


def test_a_replaced_process_runs_the_lifespans_of_its_own(pools: Pools, handlers: Any) -> None:
    pools.store.add_instance("i", [handlers.double.new(name, 1) for name in "ab"])
    WorkerPool(pools.path, PATH, processes=1, max_tasks_per_child=1).run(until_idle=True)
    heard = [pools.hear() for _ in range(8)]
    assert [name for name, _ in heard[:4]] == ["enter-outer", "enter-inner", "leave-inner", "leave-outer"]
    assert heard[0][1] != heard[4][1]


def test_a_lifespan_that_fails_ends_the_run_as_a_child_that_cannot_be_started(
    pools: Pools, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LIFESPAN_FAILS", "enter")
    with pytest.raises(WorkerStartError, match="crash on start-up; last error: ValueError: cannot be entered"):
        WorkerPool(pools.path, PATH, processes=1).run(until_idle=True)
    assert [pools.hear()[0] for _ in range(2)] == ["enter-outer", "leave-outer"]
    assert sum("died" in record.getMessage() for record in caplog.records) == 1  # no second process was tried


def test_lifespans_are_left_when_a_handler_stops_the_pool(pools: Pools) -> None:
    pools.add("stop")
    assert WorkerPool(pools.path, PATH, processes=1).run().reason == "stopped"
    assert [pools.hear()[0] for _ in range(4)] == ["enter-outer", "enter-inner", "leave-inner", "leave-outer"]


def test_lifespans_are_left_after_shutdown(pools: Pools) -> None:
    with WorkerPool(pools.path, PATH, processes=1).spawn() as handle:
        assert [pools.hear()[0] for _ in range(2)] == ["enter-outer", "enter-inner"]
        handle.shutdown()
        handle.join()
    assert [pools.hear()[0] for _ in range(2)] == ["leave-inner", "leave-outer"]


def test_a_registry_with_lifespans_must_be_importable(pools: Pools) -> None:
    registry = TaskRegistry()
    registry.middleware(lambda call_next, context: call_next(context))
    registry.task("k")(lambda _: None)
    with pytest.raises(InvalidArgumentError, match="another process cannot import this registry"):
        WorkerPool(pools.path, registry)
