"""A pool of processes in normal operation."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, NewTask, TaskState
from sqlite_claims.workers import TaskContext, TaskRegistry, WorkerPool

from .pool_runs import Pools, eventually, pools

__all__ = ["pools"]


def test_all_tasks_run_in_processes_that_are_not_the_supervisors(pools: Pools) -> None:
    pools.add(*["quick"] * 50)
    summary = WorkerPool(pools.path, "pool_handlers:registry", processes=2).run(until_idle=True)
    assert (summary.reason, summary.completed, summary.failed, summary.lost) == ("idle", 50, 0, 0)
    workers = {task.output for task in pools.store.list_tasks("i")}
    assert str(os.getpid()).encode() not in workers


def test_long_tasks_run_at_the_same_time_in_as_many_processes(pools: Pools) -> None:
    pools.add("hold", "hold")
    with WorkerPool(pools.path, "pool_handlers:registry", processes=2).spawn(until_idle=True) as handle:
        first, second = pools.hear(), pools.hear()
        assert first[1] != second[1]
        pools.open_gate()
        assert handle.join().completed == 2


def test_a_long_task_does_not_keep_those_that_were_claimed_with_it(pools: Pools) -> None:
    """After hundreds of short tasks, a worker process claims many tasks at once. If a long task is among them, the
    second process gets the tasks that wait behind it."""
    short = [NewTask(f"short-{n}", kind="quick", priority=1) for n in range(400)]
    pools.store.add_instance("i", [*short, *(NewTask(f"long-{n}", kind="hold") for n in range(10))])
    with WorkerPool(pools.path, "pool_handlers:registry", processes=2).spawn(until_idle=True) as handle:
        (first, one), (second, other) = pools.hear(), pools.hear()  # the gate is still closed
        assert first != second
        assert one != other
        pools.open_gate(10)
        assert handle.join().completed == 410


def test_a_pool_leaves_to_others_what_it_cannot_handle(pools: Pools) -> None:
    pools.add("quick", "unknown")
    assert WorkerPool(pools.path, "pool_handlers:registry", processes=1).run(until_idle=True).completed == 1
    assert pools.task("1").state is TaskState.READY


def test_functions_are_found_by_their_names(pools: Pools) -> None:
    from importlib import import_module

    handlers = import_module("pool_handlers")
    pools.add("quick", "other")
    pool = WorkerPool(pools.path, {"quick": handlers.quick, "*": handlers.quick}, processes=1)
    assert pool.run(until_idle=True).completed == 2


def test_a_registry_of_functions_is_found_by_their_names(pools: Pools) -> None:
    from importlib import import_module

    pools.add("quick")
    registry: TaskRegistry = import_module("pool_handlers").registry
    assert WorkerPool(pools.path, registry, processes=1).run(until_idle=True).completed == 1


def test_handlers_of_the_programs_main_file_are_found(pools: Pools) -> None:
    pools.add("any")
    status, summary = pools.finish(pools.start("own", processes=1, until_idle=True))
    assert (status, summary) == (0, ["idle", 1, 0, 0])
    assert pools.task().output == b"0 in __mp_main__"


def inner() -> Any:
    def handler(task: TaskContext) -> None: ...

    return handler


@pytest.mark.parametrize(
    "bad", [lambda _: None, inner(), {"a": inner()}, "no colon", "module:", ":attribute", "a b:c", 7, None]
)
def test_handlers_that_another_process_cannot_import_are_refused_at_once(pools: Pools, bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="handler"):
        WorkerPool(pools.path, bad)


@pytest.mark.parametrize(
    "options",
    [{"processes": 0}, {"max_tasks_per_child": 0}, {"worker_id": "x" * 256}, {"store_options": {"read_only": True}}],
)
def test_an_argument_without_sense_is_refused_by_name(pools: Pools, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        WorkerPool(pools.path, "pool_handlers:registry", **options)


def test_log_records_of_the_processes_appear_in_the_supervisors_log(
    pools: Pools, caplog: pytest.LogCaptureFixture
) -> None:
    pools.add("log")
    with caplog.at_level(logging.INFO):
        WorkerPool(pools.path, "pool_handlers:registry", processes=1).run(until_idle=True)
    (record,) = [record for record in caplog.records if record.name == "pool_handlers.log"]
    assert (record.getMessage(), record.levelname, record.funcName) == ("0 went wrong", "ERROR", "log")
    assert "ValueError: inside" in (record.exc_text or "")
    assert record.process != os.getpid()


def test_a_process_is_replaced_after_its_number_of_tasks(pools: Pools) -> None:
    pools.add(*["quick"] * 20)
    pool = WorkerPool(pools.path, "pool_handlers:registry", processes=1, max_tasks_per_child=5)
    assert pool.run(until_idle=True).completed == 20
    workers = [task.output for task in pools.store.list_tasks("i")]
    assert len(set(workers)) == 4
    assert all(workers.count(worker) == 5 for worker in workers)


@pytest.mark.slow
def test_a_process_that_holds_too_much_memory_is_replaced_after_its_task(pools: Pools) -> None:
    pools.add("hold", "hold")
    pool = WorkerPool(pools.path, "pool_handlers:registry", processes=1, max_memory_per_child=1)
    with pool.spawn(until_idle=True) as handle:
        _, first = pools.hear()
        pools.open_gate()
        _, second = pools.hear()
        assert first != second
        assert handle.join().completed == 2
    assert pools.task().losses == 0


def test_a_pool_that_waits_for_work_takes_what_is_added(pools: Pools) -> None:
    with WorkerPool(pools.path, "pool_handlers:registry", processes=2).spawn() as handle:
        eventually(lambda: len(list(pools.store.list_workers())) == 2)
        pools.add("quick", "quick")
        assert pools.store.wait_for_instance("i", 60) is not None
        handle.shutdown()
        assert handle.join().completed == 2
    assert list(pools.store.list_workers()) == []


@pytest.mark.slow
def test_pools_of_one_name_have_workers_of_different_names(pools: Pools) -> None:
    start = [WorkerPool(pools.path, "pool_handlers:registry", processes=1, worker_id="w").spawn() for _ in range(2)]
    with start[0], start[1]:
        names = eventually(
            lambda: (found := {w.worker_id for w in pools.store.list_workers()}) and len(found) == 2 and found
        )
    assert all(name.startswith("w-") for name in names)


def test_coroutines_share_a_process(pools: Pools) -> None:
    pools.store.add_instance("i", [NewTask(str(n), kind="meet") for n in range(3)])
    pool = WorkerPool(pools.path, "pool_handlers:coroutines", processes=1, concurrency=3)
    assert pool.run(until_idle=True).completed == 3
