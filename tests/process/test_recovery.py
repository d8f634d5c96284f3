"""The time until a killed worker's task runs in a different process. The lease of the claim does not matter."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable

import pytest

from sqlite_claims import NewTask, TaskState
from sqlite_claims.workers import WorkerPool

from .pool_runs import PATIENCE, Pools, eventually, pools

__all__ = ["pools"]

LEASE = 5 * PATIENCE


def alive(pools: Pools) -> int:
    return sum(worker.alive for worker in pools.store.list_workers())


def kill_and_time(pools: Pools, kills: int, replace: Callable[[], object]) -> list[float]:
    """Repeatedly kill the process that runs a task. Return, for each kill, the time (s) from the SIGKILL to the next
    start of the task. Two processes are alive before each kill."""
    took = []
    pools.store.add_instance("i")
    for number in range(kills):
        replace()
        eventually(lambda: alive(pools) == 2)
        pools.store.add_tasks("i", [NewTask(str(number), kind="hold")])
        name, first = pools.hear()
        os.kill(first, signal.SIGKILL)
        died = time.monotonic()
        again, second = pools.hear()
        took.append(time.monotonic() - died)
        assert (name, again) == (str(number), str(number))
        assert first != second
        pools.open_gate(1)
        eventually(lambda: pools.task(str(number)).state is TaskState.COMPLETED)  # noqa: B023 - called at once
        task = pools.task(str(number))
        assert (task.losses, task.attempts) == (1, 2)
    print(f"{kills} kills: median {statistics.median(took) * 1000:.0f} ms, worst {max(took) * 1000:.0f} ms")
    return took


def in_a_pool(pools: Pools, kills: int) -> list[float]:
    with WorkerPool(pools.path, "pool_handlers:registry", processes=2, claim_ttl=LEASE).spawn() as handle:
        took = kill_and_time(pools, kills, lambda: None)
        handle.shutdown()
        summary = handle.join()
    assert (summary.completed, summary.lost) == (kills, kills)
    return took


def in_programs_of_their_own(pools: Pools, kills: int) -> list[float]:
    pools.start("worker", claim_ttl=LEASE)
    return kill_and_time(pools, kills, lambda: pools.start("worker", claim_ttl=LEASE))


def test_a_pool_itself_reports_the_death_of_a_process_so_that_its_task_runs_elsewhere(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this test, the worker processes do not probe for dead sessions, so only the supervisor can free the task."""
    monkeypatch.setenv("POOL_TEST_NO_PROBES", "1")
    in_a_pool(pools, 2)


@pytest.mark.slow
def test_a_killed_workers_task_runs_in_another_program_long_before_its_lease_ends(pools: Pools) -> None:
    in_programs_of_their_own(pools, 2)


@pytest.mark.soak
def test_the_tasks_of_fifty_killed_processes_of_a_pool_run_elsewhere_at_once(pools: Pools) -> None:
    took = in_a_pool(pools, 50)
    assert statistics.median(took) < 0.2
    assert max(took) < 1


@pytest.mark.soak
def test_the_tasks_of_fifty_killed_workers_run_in_another_program_within_a_second(pools: Pools) -> None:
    assert max(in_programs_of_their_own(pools, 50)) < 1
