"""The number of empty tasks that a pool of two processes completes per second."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlite_claims import NewTask, SqliteClaimStore, TaskContext, WorkerPool

from .pairs import Figure, Target, figure

if TYPE_CHECKING:
    from .bench import Bench

PROCESSES = 2
_PATIENCE_S = 60.0
# With fewer tasks than this, one process may complete all tasks before the second process gets any.
_SHARED_FROM = 1_000


def whoami(_: TaskContext) -> bytes:
    """Return the id of this process as the output of the task. This handler does no other work."""
    return b"%d" % os.getpid()


def throughput(bench: Bench) -> Iterator[Figure]:
    """Claim, run and complete tasks in worker processes, then check every output."""
    tasks = 5 * bench.sizes.added
    samples = [tasks_a_second(bench.stores.new_path(), tasks) for _ in range(bench.sizes.rounds + 1)]
    name = f"a pool of {PROCESSES} processes, {tasks:,} tasks that do nothing"
    yield figure(name, samples[1:], "/s", Target(20_000, "at least"), {"tasks_a_second": samples})


def tasks_a_second(path: Path, tasks: int) -> float:
    """Return the tasks per second of one run, from the first claim to the last result.

    The processes are started before the run, and are asleep when the run starts.
    """
    pool = WorkerPool(path, whoami, processes=PROCESSES, store_options={"durability": "process"})
    with SqliteClaimStore(path, durability="process") as store, pool.spawn() as handle:
        wait_for_workers(store)
        store.add_instance("pool", [NewTask(f"task-{number:07}") for number in range(tasks)])
        # The state is checked rarely, because each check slows the workers down.
        while store.get_instance("pool").finished_at is None:
            time.sleep(0.05)
        handle.shutdown()
        handle.join()
        ran_by: Counter[bytes | None] = Counter()
        began = float("inf")
        for task in store.list_tasks("pool"):
            ran_by[task.output] += 1
            if task.started_at is not None:
                began = min(began, task.started_at.timestamp())
        ended = store.get_instance("pool").finished_at
    if (
        ended is None
        or None in ran_by
        or ran_by.total() != tasks
        or (len(ran_by) < PROCESSES and tasks >= _SHARED_FROM)
    ):
        raise RuntimeError(f"not all of {tasks} tasks were done, or not by {PROCESSES} processes: {ran_by}")
    return tasks / (ended.timestamp() - began)


def wait_for_workers(store: SqliteClaimStore, number: int = PROCESSES) -> None:
    """Wait until ``number`` worker sessions are alive."""
    until = time.monotonic() + _PATIENCE_S
    while sum(worker.alive for worker in store.list_workers()) < number:
        if time.monotonic() > until:
            raise RuntimeError("the workers did not start")
        time.sleep(0.01)
