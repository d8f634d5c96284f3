"""Several processes on one file with limits: no limit is ever broken, and no slot is idle while a task waits."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import InstanceState, NewTask, RetryPolicy, SqliteClaimStore

from . import limit_log

WORKER = Path(__file__).with_name("limit_worker.py")
_PER_INSTANCE = 500
_MANY = 1_000_000


class Run:
    """One file, and the processes that work on it."""

    def __init__(self, folder: Path, seed: int, *, held_max: int) -> None:
        self.folder = folder
        self.path = folder / "jobs.db"
        self.draw = random.Random(seed)
        self.held_max = held_max
        self.logs: list[Path] = []
        self.running: dict[Path, subprocess.Popen[bytes]] = {}
        self.killed: dict[Path, tuple[int, int]] = {}
        self.cancelled: dict[str, tuple[int, int]] = {}
        self.tasks: dict[tuple[str, str], str] = {}
        self.rules: dict[str, int] = {}

    def add(self, partitions: int, tasks: int) -> None:
        """Add tasks that are spread at random over partitions with a concurrency of 1, 2 or 3."""
        retry = RetryPolicy(0, 1, 0, 0)
        with SqliteClaimStore(self.path, durability="process") as store:
            for number in (1, 2, 3):
                store.set_limit(f"rule-{number}", concurrency=number)
            for number in range(partitions):
                self.rules[f"rule-{number % 3 + 1}:{number}"] = number % 3 + 1
            names = list(self.rules)
            for first in range(0, tasks, _PER_INSTANCE):
                added = [
                    NewTask(
                        f"t{number}",
                        limit=self.draw.choice(names),
                        priority=self.draw.randint(1, 5),
                        max_attempts=_MANY,
                        max_lost=_MANY,
                        retry=retry,
                    )
                    for number in range(first, min(first + _PER_INSTANCE, tasks))
                ]
                store.add_instance(f"i{first}", added)
                self.tasks.update({(f"i{first}", task.task_id): str(task.limit) for task in added})

    def add_rated(self, partitions: int, tasks: int, claims: int, period: float) -> None:
        """Add tasks that are spread evenly over partitions with a rate."""
        with SqliteClaimStore(self.path, durability="process") as store:
            store.set_limit("rated", rate=(claims, period))
            added = [NewTask(f"t{number}", limit=f"rated:{number % partitions}") for number in range(tasks)]
            store.add_instance("i", added)
            self.tasks = {("i", task.task_id): str(task.limit) for task in added}

    def start(self) -> None:
        log = self.folder / f"log-{len(self.logs)}"
        self.logs.append(log)
        command = [sys.executable, str(WORKER), str(self.path), str(log), str(self.draw.random()), str(self.held_max)]
        self.running[log] = subprocess.Popen(command, stdin=subprocess.PIPE)

    def kill_one(self) -> None:
        log, process = self.draw.choice(list(self.running.items()))
        before = time.monotonic_ns()
        _end(process)
        self.killed[log] = before, time.monotonic_ns()
        del self.running[log]

    def cancel_one(self) -> None:
        with SqliteClaimStore(self.path, durability="process") as store:
            still_open = [info.instance_id for info in store.list_instances(states=[InstanceState.IN_PROGRESS])]
            if still_open:
                instance = self.draw.choice(still_open)
                before = time.monotonic_ns()
                try:
                    store.cancel_instance(instance)
                finally:
                    self.cancelled[instance] = before, time.monotonic_ns()

    def play(self, processes: int, *, kills: int, cancels: int) -> None:
        """Run the processes until all tasks have ended, with kills and cancellations at random progress."""
        trouble: list[Any] = [self.kill_one] * kills + [self.cancel_one] * cancels
        self.draw.shuffle(trouble)
        step = len(self.tasks) // (len(trouble) + 2)
        try:
            for _ in range(processes):
                self.start()
            with SqliteClaimStore(self.path, read_only=True) as store:
                for number, make in enumerate(trouble, 1):
                    while len(self.tasks) - _open_tasks(store) < number * step and _any_runs(self.running):
                        time.sleep(0.02)
                    make()
                    while len(self.running) < processes:
                        self.start()
            for process in self.running.values():
                assert process.wait(600) == 0  # the worker ends when no task is open any more
        finally:
            for process in self.running.values():
                _end(process)

    def outcome(self) -> limit_log.Outcome:
        return limit_log.check(self.logs, self.tasks, self.rules, killed=self.killed, cancelled=self.cancelled)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.kill()
    process.wait()
    process.stdin.close()


def _open_tasks(store: SqliteClaimStore) -> int:
    return sum(number for state, number in store.stats().counts.items() if not state.has_ended)


def _any_runs(running: dict[Path, subprocess.Popen[bytes]]) -> bool:
    return any(process.poll() is None for process in running.values())


def _played(folder: Path, *, processes: int, partitions: int, tasks: int, kills: int, cancels: int) -> None:
    # The processes together can hold more claims than there are slots, so many calls find too few tasks.
    run = Run(folder, 5, held_max=3 * partitions // processes)
    run.add(partitions, tasks)
    run.play(processes, kills=kills, cancels=cancels)
    outcome = run.outcome()
    assert outcome.faults == []
    assert outcome.short_calls > 10
    assert outcome.claims > tasks // 2
    assert all(outcome.fullest[name] == number for name, number in run.rules.items())
    with SqliteClaimStore(run.path) as store:
        assert store.check() == []
        assert sum(limit.running + limit.waiting for limit in store.list_limits()) == 0
    print(f"{outcome.claims:,} claims, {outcome.short_calls:,} calls that found too few tasks")


@pytest.mark.soak
def test_a_few_processes_break_no_limit_and_leave_no_slot_idle(tmp_path: Path) -> None:
    _played(tmp_path, processes=3, partitions=12, tasks=1500, kills=2, cancels=1)


@pytest.mark.soak
def test_eight_processes_break_no_limit_and_leave_no_slot_idle(tmp_path: Path) -> None:
    _played(tmp_path, processes=8, partitions=200, tasks=100_000, kills=40, cancels=20)


@pytest.mark.soak
def test_eight_processes_exceed_no_rate_and_use_it(tmp_path: Path) -> None:
    run = Run(tmp_path, 5, held_max=50)
    run.add_rated(partitions=10, tasks=20_000, claims=50, period=1.0)
    run.play(8, kills=0, cancels=0)
    used = []
    for claims in limit_log.claim_times(run.logs, run.tasks).values():
        # Each claim happened between the two times of its call.
        windows = [
            max(last for _, last in claims[at : at + 51]) - min(first for first, _ in claims[at : at + 51])
            for at in range(len(claims) - 50)
        ]
        assert min(windows) >= 1_000_000_000
        duration = claims[-1][1] - claims[0][0]
        used.append((len(claims) - 1) // 50 * 1_000_000_000 / duration)
    print(f"share of the rate that was used: at least {min(used):.3f}")
    assert min(used) >= 0.95
