"""Workers in unusual environments: in a container, as process 1, while stopped, under a debugger."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import NewTask, TaskState

from .pool_runs import Pools, children_of, eventually, pools

__all__ = ["pools"]

# This command simulates a container: the command has separate process ids and mounts, on the same kernel.
CONTAINER = ("unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")


def can_contain() -> bool:
    try:
        return subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


GDB = ("gdb", "-nx", "-q", "-iex", "set debuginfod enabled off")

in_containers = pytest.mark.skipif(not can_contain(), reason="namespaces can't be made here")


def may_debug() -> bool:
    """Return whether gdb is installed and may attach to a process."""
    if shutil.which("gdb") is None:
        return False
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        tried = subprocess.run([*GDB, "-batch", "-p", str(sleeper.pid)], capture_output=True, text=True, check=False)
        sleeper.kill()
    return "ptrace" not in tried.stderr


def contained(pools: Pools, what: str, **options: Any) -> subprocess.Popen[bytes]:
    return pools.start_within(CONTAINER, pools.path, what, options)


def inner(program: subprocess.Popen[bytes]) -> int:
    """Return the process id, outside the container, of the container's process 1."""
    (pid,) = eventually(lambda: children_of(program.pid))
    return int(pid)


@pytest.mark.slow
@in_containers
def test_a_pool_that_is_process_1_buries_orphans_and_ends_at_a_signal_with_nothing_held(pools: Pools) -> None:
    pools.add(*["orphan"] * 5, "hold")
    program = contained(pools, "pool", processes=1, shutdown_timeout=0.1)
    first = inner(program)
    name, pid_within = pools.hear()
    assert name == "5"
    assert pid_within < 100  # the process is in the container
    eventually(lambda: len(children_of(first)) == 1)
    os.kill(first, signal.SIGTERM)
    assert pools.finish(program) == (0, ["interrupted", 5, 0, 0])
    assert list(pools.store.list_claims()) == []
    assert (pools.task("5").state, pools.task("5").attempts) == (TaskState.READY, 0)


@in_containers
def test_a_pool_that_is_process_1_replaces_a_process_that_dies(pools: Pools) -> None:
    pools.add("die", "quick", max_lost=2)
    program = contained(pools, "pool", processes=1, until_idle=True)
    assert pools.finish(program) == (0, ["idle", 1, 0, 2])


@in_containers
@pytest.mark.parametrize("ttl", [300, None])
def test_a_worker_in_another_container_keeps_its_task_until_it_is_dead(
    pools: Pools, tmp_path: Path, ttl: float | None
) -> None:
    """The worker in the container sees the folder under a different path, and has different process ids."""
    pools.add("hold")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount = ("sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', str(tmp_path), str(mounted))
    program = pools.start_within((*CONTAINER, *mount), str(mounted / "jobs.db"), "worker", {"claim_ttl": ttl})
    pools.hear()
    assert [worker.alive for worker in pools.store.list_workers()] == [True]
    assert pools.store.claim_available_tasks("out here", 1, 60) == []
    assert pools.store.claim_task("i", "0", "out here", 60) is None
    os.kill(inner(program), signal.SIGKILL)
    assert eventually(lambda: pools.store.claim_available_tasks("out here", 1, 60))
    assert pools.task().losses == 1


@in_containers
def test_a_worker_in_a_container_takes_over_from_a_dead_one_outside_and_not_from_a_live_one(pools: Pools) -> None:
    pools.add("hold")
    outside = pools.start("worker", claim_ttl=None)
    _, pid = pools.hear()
    contained(pools, "worker")
    pools.store.add_tasks("i", [NewTask("1", kind="quick")])
    # the completed task shows that the worker has probed which sessions are alive
    eventually(lambda: pools.task("1").state is TaskState.COMPLETED)
    assert (pools.task().state, pools.task().attempts) == (TaskState.CLAIMED, 1)
    outside.kill()
    _, second = pools.hear()
    assert second != pid
    assert pools.task().losses == 1


@pytest.mark.slow
def test_a_frozen_worker_keeps_its_task_until_the_lease_ends_and_its_late_result_is_dropped(pools: Pools) -> None:
    pools.add("hold")
    frozen = pools.start("worker", claim_ttl=1)
    _, first = pools.hear()
    os.kill(first, signal.SIGSTOP)
    eventually(lambda: state_of(first) == "T")
    claim = pools.task().claim
    assert claim is not None
    assert claim.expires_at is not None
    other = pools.start("worker", claim_ttl=1)
    _, second = pools.hear()
    assert time.time() >= claim.expires_at
    assert second != first
    pools.open_gate(1)
    eventually(lambda: pools.task().state is TaskState.COMPLETED)
    holder = pools.task().worker_id
    os.kill(first, signal.SIGCONT)
    pools.open_gate(1)
    for program in (frozen, other):
        program.send_signal(signal.SIGTERM)
    assert pools.finish(frozen) == (0, ["interrupted", 0, 0, 1])
    assert pools.finish(other) == (0, ["interrupted", 1, 0, 0])
    task = pools.task()
    assert (task.worker_id, task.attempts, task.losses) == (holder, 2, 1)


@pytest.mark.slow
def test_a_process_that_a_debugger_holds_is_not_taken_for_dead(pools: Pools) -> None:
    if not may_debug():
        pytest.skip("there is no gdb, or it may not attach")
    pools.add("hold")
    program = pools.start("pool", processes=2)
    _, pid = pools.hear()
    debugger = subprocess.Popen(
        [*GDB, "-p", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: state_of(pid) == "t")
    looked = time.monotonic()
    while time.monotonic() < looked + 1:  # twice the interval at which stores probe for dead sessions
        assert pools.store.claim_available_tasks("another", 1, 60) == []
        time.sleep(0.1)
    debugger.communicate(b"detach\nquit\n", timeout=60)
    pools.open_gate()
    eventually(lambda: pools.task().state is TaskState.COMPLETED)
    program.send_signal(signal.SIGTERM)
    assert pools.finish(program) == (0, ["interrupted", 1, 0, 0])
    assert (pools.task().attempts, pools.task().losses) == (1, 0)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
