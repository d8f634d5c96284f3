"""Pools whose supervisors and worker processes are killed or frozen at random moments. No task is lost, and no result
is stored for a claim that was taken over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from typing import Any

import pytest

from sqlite_claims import NewTask, TaskState

from ..tiers import first_is_fast
from .pool_runs import Pools, children_of, eventually, pools

__all__ = ["pools"]

PROCESSES = 4
# Claims with the short lease expire while their holder is frozen. Claims with the long lease end only when their holder
# dies.
SHORT_LEASE, LONG_LEASE = 1.0, 300.0
WITHOUT_END: dict[str, Any] = {"kind": "witnessed", "max_lost": 10**6, "max_attempts": 10**6}


class Havoc:
    """A pool in a separate program, and the random faults that the test causes in the pool."""

    def __init__(self, pools: Pools, lease: float, choose: random.Random) -> None:
        self._pools = pools
        self._lease = lease
        self._choose = choose
        self._frozen: list[int] = []
        self.counts: Counter[str] = Counter()
        self.program = self._begin()

    def _begin(self) -> subprocess.Popen[bytes]:
        return self._pools.start("pool", processes=PROCESSES, claim_ttl=self._lease, shutdown_timeout=1)

    def add(self) -> None:
        """Add short and long tasks, and one task that depends on all of them."""
        name = f"i{self.counts['instances']}"
        short = [NewTask(f"short-{n}", b"0", **WITHOUT_END) for n in range(60)]
        long = [NewTask(f"long-{n}", b"0.3", **WITHOUT_END) for n in range(12)]
        names = [task.task_id for task in short + long]
        last = NewTask("last", b"0", depends_on=names, **WITHOUT_END)
        self._pools.store.add_instance(name, [*short, *long, last])
        self.counts["instances"] += 1

    def strike(self) -> None:
        """Kill the supervisor or one of its processes at a random moment, or stop one of them and let it continue
        later."""
        time.sleep(self._choose.uniform(0, 0.5))  # this sleep makes the moment of the kill random
        assert self.program.poll() is None, "the pool gave up"
        what = self._choose.choices(["child", "supervisor", "freeze"], [8, 1, 2 * (self._lease == SHORT_LEASE)])[0]
        children = eventually(lambda: children_of(self.program.pid))
        if what == "supervisor":
            self.program.kill()
            self.program.wait()
            self.program = self._begin()
        elif what == "child":
            self._kill(self._choose.choice(children), signal.SIGKILL)
        else:
            victim = self._choose.choice(children)
            self._kill(victim, signal.SIGSTOP)
            self._frozen.append(victim)
        self.counts[what] += 1
        if len(self._frozen) > 1:
            self.thaw()

    def _kill(self, pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            self.counts["already dead"] += 1

    def thaw(self) -> None:
        for pid in self._frozen:
            self._kill(pid, signal.SIGCONT)
        self._frozen.clear()


def wreak(pools: Pools, kills: int, lease: float, seed: int) -> None:
    havoc = Havoc(pools, lease, random.Random(seed))
    while havoc.counts["child"] + havoc.counts["supervisor"] < kills:
        if havoc.counts.total() % 5 == 0:
            havoc.add()
        havoc.strike()
    havoc.thaw()
    eventually(lambda: all(instance.finished_at for instance in pools.store.list_instances()))
    # a supervisor that has just started has not installed its signal handler yet
    eventually(lambda: children_of(havoc.program.pid))
    havoc.program.send_signal(signal.SIGTERM)
    status, summary = pools.finish(havoc.program)
    assert (status, summary[0]) == (0, "interrupted")
    verify(pools)
    losses = sum(task.losses for task in pools.store.list_tasks())
    print(f"seed {seed}: {dict(havoc.counts)}, {losses} losses")


def verify(pools: Pools) -> None:
    store = pools.store
    # The processes of a killed supervisor end by themselves.
    eventually(lambda: not any(worker.alive for worker in store.list_workers()))
    assert list(store.list_claims()) == []
    assert store.check() == []
    tasks = {(task.instance_id, task.task_id): task for task in store.list_tasks()}
    assert {task.state for task in tasks.values()} == {TaskState.COMPLETED}
    starts: dict[tuple[str, str], list[int]] = {}
    for instance_id, task_id, token in pools.starts():
        starts.setdefault((instance_id, task_id), []).append(token)
    assert starts.keys() == tasks.keys()
    last_tokens = store._db.read(
        lambda db: {
            (i, t): token
            for i, t, token in db.execute(
                "SELECT i.name, t.name, t.token FROM claims_tasks t JOIN claims_instances i ON i.id = t.instance"
            )
        }
    )
    for name, task in tasks.items():
        assert len(set(starts[name])) == len(starts[name]), f"{name} was started twice under one claim"
        # The last claim of the task, which has the largest token, has produced the stored result.
        assert int(task.output or b"") == last_tokens[name] == max(starts[name]), name
        assert task.attempts == task.losses + 1, name


@pytest.mark.parametrize("lease", first_is_fast([SHORT_LEASE, LONG_LEASE]))
def test_pools_killed_at_any_point_lose_nothing_and_store_no_stale_result(pools: Pools, lease: float) -> None:
    wreak(pools, 10, lease, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_pools_killed_a_hundred_times_lose_nothing_and_store_no_stale_result(pools: Pools, seed: int) -> None:
    wreak(pools, 100, SHORT_LEASE if seed % 2 else LONG_LEASE, seed)
