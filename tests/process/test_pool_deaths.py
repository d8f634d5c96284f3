"""Worker processes that die, hang, or never start up."""

from __future__ import annotations

import os
import re
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sqlite_claims import NewTask, RetryPolicy, TaskState
from sqlite_claims.workers import WorkerPool, WorkerStartError

from ..tiers import first_is_fast
from .pool_runs import Pools, children_of, eventually, is_gone, pools

__all__ = ["pools"]


def test_the_task_of_a_killed_process_is_run_by_another_long_before_its_claim_expires(pools: Pools) -> None:
    pools.add("hold")
    with WorkerPool(pools.path, "pool_handlers:registry", processes=2, claim_ttl=86_400).spawn(
        until_idle=True
    ) as handle:
        _, first = pools.hear()
        os.kill(first, signal.SIGKILL)
        _, second = pools.hear()
        assert second != first
        pools.open_gate()
        summary = handle.join()
    assert (summary.completed, summary.failed, summary.lost) == (1, 0, 1)
    assert (pools.task().losses, pools.task().attempts) == (1, 2)


def test_a_task_that_kills_its_process_ends_and_its_neighbours_pay_nothing(pools: Pools) -> None:
    pools.add(*["quick"] * 60, "die", *["quick"] * 60, max_lost=2)
    summary = WorkerPool(pools.path, "pool_handlers:registry", processes=1).run(until_idle=True)
    assert (summary.completed, summary.lost) == (120, 2)
    tasks = {task.task_id: task for task in pools.store.list_tasks("i")}
    killer = tasks.pop("60")
    assert killer.state is TaskState.FAILED
    assert re.fullmatch(r"lost 2 claims; max_lost is 2; worker process \d+ died: SIGKILL", killer.error or "")
    assert all(task.losses == 0 and task.attempts == 1 for task in tasks.values())


@pytest.mark.parametrize("kind", first_is_fast(["hold", "seize", "command"]))
def test_a_task_past_its_time_is_killed_with_its_process_and_fails(pools: Pools, kind: str) -> None:
    """The supervisor also kills a process whose task never releases the interpreter lock. It also kills the commands
    that a task has started."""
    pools.add(kind, "quick", max_attempts=1)
    pool = WorkerPool(pools.path, "pool_handlers:registry", processes=1, task_timeout=1)
    summary = pool.run(until_idle=True)
    assert (summary.completed, summary.failed, summary.lost) == (1, 1, 0)
    info = pools.task()
    assert (info.state, info.error, info.losses) == (TaskState.FAILED, "timed out after 1 s", 0)
    _, pid = pools.hear()
    eventually(lambda: is_gone(pid))


@pytest.mark.slow
def test_a_task_that_timed_out_is_tried_again_by_its_policy(pools: Pools) -> None:
    pools.store.add_instance("i", [NewTask("0", kind="hold", retry=RetryPolicy(initial_delay=0))])
    with WorkerPool(pools.path, "pool_handlers:registry", processes=1, task_timeout=1).spawn(until_idle=True) as handle:
        pools.hear()
        eventually(lambda: pools.task().failures == 1)
        pools.open_gate()
        summary = handle.join()
    assert (summary.completed, summary.failed) == (1, 1)


@pytest.mark.slow
def test_other_tasks_of_a_process_that_is_killed_for_a_timeout_lose_no_attempt(pools: Pools) -> None:
    pools.add("hold", max_attempts=1)
    pool = WorkerPool(pools.path, "pool_handlers:registry", processes=1, concurrency=2, task_timeout=4)
    with pool.spawn(until_idle=True) as handle:
        assert pools.hear()[0] == "0"
        started = pools.task().started_at
        assert started is not None
        # The second task starts half a second after the first task, so that the two tasks do not time out together.
        eventually(lambda: datetime.now(UTC) - started > timedelta(seconds=0.5))
        pools.store.add_tasks("i", [NewTask("1", kind="hold")])
        assert pools.hear()[0] == "1"
        assert pools.hear()[0] == "1"  # the task was started again, in the replacement process
        pools.open_gate()
        summary = handle.join()
    assert (summary.completed, summary.failed, summary.lost) == (1, 1, 0)
    info = pools.task("1")
    assert (info.attempts, info.losses, info.failures) == (1, 0, 0)


@pytest.mark.slow
def test_a_process_whose_cancelled_handler_does_not_leave_is_replaced(pools: Pools) -> None:
    pools.add("command")
    pool = WorkerPool(pools.path, "pool_handlers:registry", processes=1, poll_interval=0.05)
    with pool.spawn(until_idle=True) as handle:
        _, command = pools.hear()
        worker = pools.task().claim
        assert worker is not None
        pid = next(found.pid for found in pools.store.list_workers() if found.worker_id == worker.worker_id)
        pools.store.cancel_instance("i")
        eventually(lambda: is_gone(pid))
        eventually(lambda: is_gone(command))  # the command was killed together with the process
        pools.store.add_instance("j", [NewTask("0", kind="quick")])
        pools.store.wait_for_instance("j", 60)
        handle.shutdown()
        assert (handle.join().lost, pools.store.get_task("j", "0").losses) == (1, 0)
    assert pools.store.get_task("j", "0").output != str(pid).encode()


@pytest.mark.slow
def test_other_tasks_of_a_process_that_is_replaced_are_given_back_at_no_cost(pools: Pools) -> None:
    pools.add("hold")
    pool = WorkerPool(
        pools.path, "pool_handlers:registry", processes=1, concurrency=2, poll_interval=0.05, shutdown_timeout=0.1
    )
    with pool.spawn() as handle:
        _, first = pools.hear()
        pools.store.add_instance("j", [NewTask("1", kind="hold")])
        assert pools.hear() == ("1", first)
        pools.store.cancel_instance("i")
        name, second = pools.hear()
        assert (name, second != first) == ("1", True)
        task = pools.store.get_task("j", "1")
        assert (task.attempts, task.failures, task.losses) == (1, 0, 0)
        pools.open_gate()
        pools.store.wait_for_instance("j", 60)
        handle.shutdown()
        assert (handle.join().completed, is_gone(first)) == (1, True)


def test_a_process_that_was_told_to_end_by_somebody_finishes_and_is_replaced(pools: Pools) -> None:
    pools.add("outlast", "quick")
    with WorkerPool(pools.path, "pool_handlers:registry", processes=1).spawn(until_idle=True) as handle:
        _, first = pools.hear()
        os.kill(first, signal.SIGTERM)
        assert handle.join().completed == 2
    assert pools.task("0").losses == 0
    assert pools.task("1").output != str(first).encode()


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "bad_handlers.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.parametrize(
    ("text", "said"),
    first_is_fast(
        [
            ("import no_such_module", "No module named 'no_such_module'"),
            ("raise SystemExit('wrong configuration')", "SystemExit: wrong configuration"),
            ("handlers = {}", "handlers is empty"),
            ("", "has no attribute 'handlers'"),
        ]
    ),
)
def test_handlers_that_cannot_be_loaded_end_the_pool_and_say_why(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    write(tmp_path, monkeypatch, text)
    with pytest.raises(WorkerStartError, match=said):
        WorkerPool(pools.path, "bad_handlers:handlers", processes=2).run()


@pytest.mark.slow
def test_processes_that_die_without_a_word_end_the_pool_after_some_tries(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch, "import os; os._exit(7)")
    began = time.monotonic()
    with pytest.raises(WorkerStartError, match="exit status 7"):
        WorkerPool(pools.path, "bad_handlers:handlers", processes=1).run()
    assert time.monotonic() - began >= 0.1 + 0.2 + 0.4 + 0.8  # the delay between restarts doubles each time


@pytest.mark.slow
def test_a_store_that_is_busy_when_a_process_dies_keeps_no_other_from_being_supervised(pools: Pools) -> None:
    pools.add("hold")
    pool = WorkerPool(pools.path, "pool_handlers:registry", processes=1, store_options={"busy_timeout": 3600})
    with pool.spawn(until_idle=True) as handle:
        _, first = pools.hear()
        with pools.store.transaction(timeout=3600):
            os.kill(first, signal.SIGKILL)
            # The replacement process starts before the supervisor can record the loss.
            eventually(lambda: [pid for pid in children_of(os.getpid()) if pid != first and not is_gone(pid)])
        pools.hear()
        pools.open_gate()
        summary = handle.join()
    assert (summary.completed, summary.lost) == (1, 1)
    assert (pools.task().losses, pools.task().attempts) == (1, 2)
