"""The time until a sleeping worker runs a task that another process adds; the cost of sleeping and of heartbeats."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlite_claims import NewTask, SqliteClaimStore, TaskContext, WorkerPool
from sqlite_claims.sqlite.doorbell import COMMITS

from .pairs import Figure, Target, figure
from .pool import PROCESSES, wait_for_workers

if TYPE_CHECKING:
    from .bench import Bench

_WORKER = """
import os, sys, time
from sqlite_claims import PooledWorker, SqliteClaimStore
def tell(task):
    os.write(1, b"%d\\n" % time.monotonic_ns())
with SqliteClaimStore(sys.argv[1], durability="process") as store:
    with PooledWorker(store, tell).spawn():
        sys.stdin.read()
"""
# The bounds of the random pause between two tasks. The worker is asleep again after the pause, and the pauses are not
# in step with the worker's own timers.
_GAP_S = (0.005, 0.03)
_CLAIM_TTL_S = 30.0
_SETTLE_S = 1.0


@contextmanager
def _worker(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program whose only worker prints the time at which the worker runs a task."""
    command = [sys.executable, "-c", _WORKER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        yield program
        assert program.stdin is not None
        program.stdin.close()


def wake_up(bench: Bench) -> Iterator[Figure]:
    """Measure the time from the call that adds a task to the start of the task in a second, sleeping process."""
    samples = []
    path = bench.stores.new_path()
    choose = random.Random(0)
    with SqliteClaimStore(path, durability="process") as store, _worker(path) as program:
        wait_for_workers(store, 1)
        assert program.stdout is not None
        store.add_instance("i")
        for number in range(bench.sizes.cycles):
            time.sleep(choose.uniform(*_GAP_S))
            added = time.monotonic_ns()
            store.add_tasks("i", [NewTask(str(number))])
            samples.append((int(program.stdout.readline()) - added) / 1e3)
    detail = {"samples": len(samples), "max": max(samples)}
    yield figure("from adding a task to its start in another process", samples, "µs", Target(1_000), detail)
    p99 = statistics.quantiles(samples, n=100)[-1]
    yield figure("from adding a task to its start in another process, p99", [p99], "µs", Target(10_000))


def idle(bench: Bench) -> Iterator[Figure]:
    """Measure the cost of workers without work."""
    path, seconds = bench.stores.new_path(), bench.sizes.watched
    with _pool(path) as (store, children), _worker(path) as program:
        wait_for_workers(store, PROCESSES + 1)
        one, all, writes = Processor([program.pid]), Processor([*children, os.getpid()]), Writes(store)
        time.sleep(seconds)
        yield figure("processor time of an idle worker", [one.ms() * 60 / seconds], "ms/min", Target(100))
        name = f"processor time of an idle pool of {PROCESSES} processes and its supervisor"
        yield figure(name, [all.ms() * 60 / seconds], "ms/min")
        yield from writes.figures("by these workers", seconds)


def renewals(bench: Bench) -> Iterator[Figure]:
    """Measure the cost of renewing the claims of long tasks."""
    path, seconds = bench.stores.new_path(), bench.sizes.watched
    with _pool(path) as (store, children):
        store.add_instance("long", [NewTask(str(number), b"%f" % (seconds + 60)) for number in range(PROCESSES)])
        while len(list(store.list_claims())) < PROCESSES:
            time.sleep(0.01)
        processor, writes = Processor(children), Writes(store)
        time.sleep(seconds)
        name = f"processor time of {PROCESSES} processes with a long task each"
        yield figure(name, [processor.ms() * 60 / seconds], "ms/min")
        yield from writes.figures(f"by renewals of claims of {_CLAIM_TTL_S:g} s", seconds)


def hold(task: TaskContext) -> None:
    """Wait for the time in the task's input, or until the task is cancelled. This is the handler of the long tasks."""
    task.cancelled.wait(float(task.input))


@contextmanager
def _pool(path: Path) -> Iterator[tuple[SqliteClaimStore, list[int]]]:
    """Run a pool whose processes have started and have finished their start-up work."""
    pool = WorkerPool(path, hold, processes=PROCESSES, claim_ttl=_CLAIM_TTL_S)
    with SqliteClaimStore(path) as store, pool.spawn() as handle:
        wait_for_workers(store)
        time.sleep(_SETTLE_S)
        yield store, [worker.pid for worker in store.list_workers()]
        handle.shutdown(0)


class Processor:
    """The processor time that some processes use after the creation of this object."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._before = self._now_ns()

    def _now_ns(self) -> int:
        threads = (thread for pid in self._pids for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(thread.read_text().split()[0]) for thread in threads)

    def ms(self) -> float:
        """Return the processor time so far, in milliseconds."""
        return (self._now_ns() - self._before) / 1e6


class Writes:
    """The transactions that all processes commit, and the growth of the -wal, after the creation of this object."""

    def __init__(self, store: SqliteClaimStore) -> None:
        self._bell, self._log = store._db.bell, Path(f"{store.path}-wal")
        self._commits, self._bytes = self._bell.read(COMMITS), self._log.stat().st_size

    def figures(self, what: str, seconds: float) -> Iterator[Figure]:
        """Yield the transactions and the growth so far, per minute."""
        commits, written = self._bell.read(COMMITS) - self._commits, self._log.stat().st_size - self._bytes
        yield figure(f"transactions {what}", [commits * 60 / seconds], "/min")
        yield figure(f"growth of the -wal {what}", [written / 1024 * 60 / seconds], "KiB/min")
