"""The ways in which a pool or a worker is stopped: signals, requests of handlers, the death of the supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sqlite_claims import TaskState
from sqlite_claims.workers import WorkerPool

from ..tiers import first_is_fast
from .pool_runs import ENVIRONMENT, Pools, eventually, is_gone, pools

__all__ = ["pools"]

PROGRAMS = pytest.mark.parametrize(
    ("what", "options"), [("pool", {"processes": 1}), ("worker", {})], ids=["pool", "worker"]
)


@PROGRAMS
@pytest.mark.parametrize("number", first_is_fast([signal.SIGTERM, signal.SIGINT]))
def test_after_a_signal_what_runs_finishes_and_nothing_more_starts(
    pools: Pools, what: str, options: dict[str, int], number: int
) -> None:
    pools.add("outlast", "outlast")
    program = pools.start(what, shutdown_timeout=60, **options)
    name, _ = pools.hear()
    program.send_signal(number)
    assert pools.finish(program) == (0, ["interrupted", 1, 0, 0])
    assert pools.task(name).state is TaskState.COMPLETED
    other = pools.task("1" if name == "0" else "0")
    assert (other.state, other.attempts) == (TaskState.READY, 0)


@pytest.mark.slow
@PROGRAMS
def test_tasks_that_do_not_finish_in_time_are_given_back_at_no_cost(
    pools: Pools, what: str, options: dict[str, int]
) -> None:
    pools.add("hold")
    program = pools.start(what, shutdown_timeout=0.1, **options)
    pools.hear()
    program.send_signal(signal.SIGTERM)
    assert pools.finish(program) == (0, ["interrupted", 0, 0, 0])
    info = pools.task()
    assert (info.state, info.attempts, info.losses) == (TaskState.READY, 0, 0)


@PROGRAMS
def test_a_second_signal_does_not_wait(pools: Pools, what: str, options: dict[str, int]) -> None:
    pools.add("hold")
    program = pools.start(what, shutdown_timeout=3600, **options)
    pools.hear()
    program.send_signal(signal.SIGINT)
    program.send_signal(signal.SIGTERM)
    assert pools.finish(program) == (0, ["interrupted", 0, 0, 0])
    assert pools.task().attempts == 0


@pytest.mark.slow
def test_all_processes_of_a_pool_are_told_to_stop_before_it_waits_for_any(pools: Pools) -> None:
    pools.add(*["outlast at gate"] * 8)
    program = pools.start("pool", processes=4, concurrency=2, shutdown_timeout=3600)
    running = {pools.hear() for _ in range(8)}
    program.send_signal(signal.SIGTERM)
    assert {pools.hear() for _ in range(8)} == running
    pools.open_gate(8)
    assert pools.finish(program) == (0, ["interrupted", 8, 0, 0])


@pytest.mark.slow
def test_a_pool_ends_although_its_tasks_do_not_with_no_claim_left_and_nothing_counted(pools: Pools) -> None:
    pools.add(*["hold"] * 8)
    program = pools.start("pool", processes=4, concurrency=2, shutdown_timeout=0.5)
    assert len({pools.hear()[0] for _ in range(8)}) == 8
    program.send_signal(signal.SIGTERM)
    assert pools.finish(program) == (0, ["interrupted", 0, 0, 0])
    assert list(pools.store.list_claims()) == []
    assert list(pools.store.list_workers()) == []
    assert {(task.state, task.attempts, task.losses) for task in pools.store.list_tasks("i")} == {
        (TaskState.READY, 0, 0)
    }


def test_a_signal_to_the_supervisor_and_all_its_processes_is_one_stop(pools: Pools) -> None:
    """A service manager sends the signal to each process of the service."""
    pools.add(*["outlast"] * 2)
    program = pools.start("pool", processes=2, shutdown_timeout=60)
    pids = [pools.hear()[1] for _ in range(2)]
    for pid in (*pids, program.pid):
        os.kill(pid, signal.SIGTERM)
    assert pools.finish(program) == (0, ["interrupted", 2, 0, 0])


@pytest.mark.slow
def test_a_process_that_does_not_hear_is_killed_and_its_task_given_back_at_no_cost(pools: Pools) -> None:
    pools.add("seize")
    program = pools.start("pool", processes=1, shutdown_timeout=0.1)
    _, pid = pools.hear()
    program.send_signal(signal.SIGTERM)
    assert pools.finish(program) == (0, ["interrupted", 0, 0, 0])
    assert is_gone(pid)
    info = pools.task()
    assert (info.state, info.attempts, info.losses) == (TaskState.READY, 0, 0)


@pytest.mark.slow
def test_a_process_kept_from_ending_by_a_thread_of_its_tasks_is_killed(pools: Pools) -> None:
    pools.add("linger")
    summary = WorkerPool(pools.path, "pool_handlers:registry", processes=1).run(until_idle=True)
    assert (summary.reason, summary.completed) == ("idle", 1)
    _, pid = pools.hear()
    assert is_gone(pid)


@pytest.mark.parametrize(("kind", "reason"), [("leave", "stopped"), ("interrupt", "interrupted")])
def test_a_handler_that_quits_ends_the_pool_and_the_task_is_given_back(pools: Pools, kind: str, reason: str) -> None:
    pools.add(kind)
    assert WorkerPool(pools.path, "pool_handlers:registry", processes=2).run().reason == reason
    assert (pools.task().state, pools.task().attempts) == (TaskState.READY, 0)


def test_a_handler_that_exits_has_failed_and_the_pool_goes_on(pools: Pools) -> None:
    pools.add("exit", "quick", max_attempts=1)
    summary = WorkerPool(pools.path, "pool_handlers:registry", processes=1).run(until_idle=True)
    assert (summary.reason, summary.completed, summary.failed, summary.lost) == ("idle", 1, 1, 0)
    assert str(pools.task().error).startswith("SystemExit: exit status 7")


def test_shutdown_ends_a_pool_while_its_processes_are_starting(pools: Pools) -> None:
    with WorkerPool(pools.path, "pool_handlers:registry", processes=2).spawn() as handle:
        handle.shutdown()
        assert handle.join().reason == "stopped"


def test_when_the_supervisor_is_killed_its_processes_give_back_and_end(pools: Pools) -> None:
    pools.add("hold", "heed")
    program = pools.start("pool", processes=2, shutdown_timeout=0.1)
    pids = [pools.hear()[1], pools.hear()[1]]
    program.kill()
    eventually(lambda: all(is_gone(pid) for pid in pids))
    for name in "01":
        info = pools.task(name)
        assert (info.state, info.attempts, info.losses) == (TaskState.READY, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [[], ["heed", "heed"]], ids=["asleep", "at work"])
def test_processes_end_when_their_supervisor_was_killed_without_waiting_for_their_next_poll(
    pools: Pools, kinds: list[str]
) -> None:
    pools.add(*kinds)
    program = pools.start("pool", processes=2, shutdown_timeout=0, poll_interval=3600, claim_ttl=None)
    pids = [pools.hear()[1] for _ in kinds] or eventually(lambda: alive_workers(pools, 2))
    program.kill()
    eventually(lambda: all(is_gone(pid) for pid in pids))
    assert list(pools.store.list_claims()) == []


def alive_workers(pools: Pools, number: int) -> list[int]:
    pids = [worker.pid for worker in pools.store.list_workers() if worker.alive]
    return pids if len(pids) == number else []


def test_when_the_supervisor_is_killed_its_processes_may_finish_first(pools: Pools) -> None:
    pools.add("hold")
    program = pools.start("pool", processes=1, shutdown_timeout=60)
    _, pid = pools.hear()
    program.kill()
    program.wait()
    pools.open_gate()
    eventually(lambda: is_gone(pid))
    assert pools.task().state is TaskState.COMPLETED


@pytest.mark.slow
def test_a_program_that_forgets_its_worker_ends_and_gives_back_what_it_holds(pools: Pools) -> None:
    pools.add("hold")
    program = pools.start("forget")
    pools.hear()
    assert program.stdin is not None
    program.stdin.write(b"\n")
    assert pools.finish(program) == (0, None)
    assert (pools.task().state, pools.task().attempts) == (TaskState.READY, 0)


def test_a_handler_of_the_program_for_a_signal_is_left_alone(pools: Pools) -> None:
    heard = []

    def stop(number: int, _: object) -> None:
        heard.append(number)
        handle.shutdown()

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        with WorkerPool(pools.path, "pool_handlers:registry", processes=1).spawn() as handle:
            os.kill(os.getpid(), signal.SIGTERM)
            assert handle.join().reason == "stopped"
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert heard == [signal.SIGTERM]


def test_the_programs_own_signals_are_as_before_after_a_run(pools: Pools) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    WorkerPool(pools.path, "pool_handlers:registry", processes=1).run(until_idle=True)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


_REAPER = """
import ctypes, os, subprocess, time
from sqlite_claims.workers.descendants import reap_orphans
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
own = subprocess.Popen(["sleep", "3600"])
subprocess.run(["sh", "-c", "sleep 0 & exit 0"], check=True)
def children():
    with open("/proc/self/task/%d/children" % os.getpid()) as file:
        return [int(pid) for pid in file.read().split()]
while children() != [own.pid]:
    reap_orphans([own.pid])
    time.sleep(0.01)
own.kill()
os.waitid(os.P_PID, own.pid, os.WEXITED | os.WNOWAIT)
reap_orphans([own.pid])
assert own.wait() == -9
"""


def test_as_process_1_a_supervisor_buries_orphans_and_leaves_its_own_to_their_owner() -> None:
    assert subprocess.run([sys.executable, "-c", _REAPER], env=ENVIRONMENT, timeout=60, check=False).returncode == 0


@pytest.mark.slow
def test_processes_stop_without_their_supervisor_also_where_a_fork_of_it_lives_on(pools: Pools) -> None:
    pools.add("heed")
    program = pools.start("fork", processes=1, shutdown_timeout=1)
    assert program.stdin is not None
    assert program.stdout is not None
    _, worker = pools.hear()
    program.stdin.write(b"\n")
    program.stdin.flush()
    fork = json.loads(program.stdout.readline())
    try:
        program.kill()
        eventually(lambda: is_gone(worker))
        assert not is_gone(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


_STRICT = """
import sys
from sqlite_claims import NewTask, SqliteClaimStore, WorkerPool
with SqliteClaimStore(sys.argv[1]) as store:
    store.add_instance("i", [NewTask("t", max_attempts=1)])
print(WorkerPool(sys.argv[1], "builtins:bytes", processes=1).run(until_idle=True).failed)
"""


def test_with_warnings_as_errors_a_pool_and_its_processes_end_without_one(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", _STRICT, str(tmp_path / "jobs.db")]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "1\n"
    assert "ResourceWarning" not in ended.stderr
