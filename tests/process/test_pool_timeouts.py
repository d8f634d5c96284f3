"""Timeouts of single tasks in the processes of a pool."""

from __future__ import annotations

from typing import Any

import pytest

from sqlite_claims import NewTask, RetryPolicy, TaskState
from sqlite_claims.workers import WorkerPool

from .pool_runs import Pools, eventually, is_gone, pools

__all__ = ["pools"]


@pytest.mark.parametrize("options", [{}, {"task_timeout": 3600}])
def test_a_process_whose_task_exceeds_the_tasks_timeout_is_killed(pools: Pools, options: dict[str, Any]) -> None:
    tasks = [
        NewTask("slow", kind="seize", timeout=1, max_attempts=2, retry=RetryPolicy(initial_delay=0), priority=1),
        NewTask("after", kind="quick"),
    ]
    pools.store.add_instance("i", tasks)
    pool = WorkerPool(pools.path, "pool_handlers:registry", processes=1, **options)
    with pool.spawn(until_idle=True) as handle:
        processes = [pools.hear()[1] for _ in range(2)]
        summary = handle.join()
    assert (summary.completed, summary.failed, summary.lost) == (1, 2, 0)
    info = pools.task("slow")
    assert (info.state, info.error) == (TaskState.FAILED, "timed out after 1 s")
    assert [attempt.outcome for attempt in pools.store.list_attempts("i", "slow")] == ["timed out"] * 2
    assert pools.task("after").state is TaskState.COMPLETED
    assert all(is_gone(process) for process in processes)


def test_a_tasks_long_timeout_comes_before_the_short_one_of_the_pool(pools: Pools) -> None:
    tasks = [
        NewTask("long", kind="hold", timeout=3600, priority=1),
        NewTask("short", kind="hold", max_attempts=1),
    ]
    pools.store.add_instance("i", tasks)
    pool = WorkerPool(pools.path, "pool_handlers:registry", processes=2, task_timeout=0.3)
    with pool.spawn(until_idle=True) as handle:
        while pools.hear()[0] != "long":
            pass
        eventually(lambda: pools.task("short").state is TaskState.FAILED)
        assert pools.task("short").error == "timed out after 0.3 s"
        pools.open_gate()
        handle.join()
    info = pools.task("long")
    assert (info.state, info.failures) == (TaskState.COMPLETED, 0)
