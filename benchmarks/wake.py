"""The time from the call that adds a task in one process to the claim of this task in a sleeping process, and the cost
of sleeping."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlite_claims import NewTask, SqliteClaimStore, TaskState

from .bench import Bench
from .crew import Crew
from .pairs import NONE, Figure, Target, figure, percentile
from .stores import fill, opened

# The pause between two tasks, so that the worker that claimed the first task is asleep again.
_APART_S = (0.003, 0.007)
_PATIENCE_S = 60.0
_INSTANCE = "woken for"


def wake(bench: Bench) -> Iterator[Figure]:
    """Measure the wake-ups of one process, and then the cost of processes that sleep without a wake-up."""
    sizes = bench.sizes
    path = bench.stores.new_path()
    with opened(path) as store:
        fill(store, _INSTANCE, 0)
    rounds, adding = [], []
    with closing(Crew(1)) as crew, opened(path) as store:
        for number in range(sizes.long_rounds):
            woken, added = _woken(crew, store, path, number, sizes.wakes)
            rounds.append(woken)
            adding += added
    for name, percent, target in (("median", 50, Target(1)), ("p99", 99, Target(10)), ("slowest", 100, NONE)):
        values = [percentile(seconds, percent) * 1e3 for seconds in rounds]
        yield figure(
            f"from adding a task to the claim in a sleeping process, {name} of {sizes.wakes}",
            values,
            "ms",
            target,
            {"rounds": values},
        )
    yield figure("add_tasks itself", [seconds * 1e3 for seconds in adding], "ms")
    with closing(Crew(sizes.long_rounds)) as crew:
        done = crew.work("idle", sizes.long_rounds, sizes.idle, path)
    minute = [worker["cpu"] * 60 / sizes.idle for worker in done]
    name = f"CPU per minute of an idle process, {sizes.long_rounds} processes for {sizes.idle:g} s"
    yield figure(name, minute, "s", Target(0.1), {"processes": minute})


def _woken(crew: Crew, store: SqliteClaimStore, path: Path, round: int, count: int) -> tuple[list[float], list[float]]:
    """Return the sorted seconds from each call of ``add_tasks`` to the claim, and the seconds of each call."""
    names = [f"round-{round}-task-{number}" for number in range(count)]
    began, took = {}, []
    crew.begin("wake", 1, _PATIENCE_S, path, tasks=count)
    for name in names:
        time.sleep(random.uniform(*_APART_S))
        began[name] = time.monotonic()
        store.add_tasks(_INSTANCE, [NewTask(name)])
        took.append(time.monotonic() - began[name])
        time.sleep(_APART_S[0])
        while store.get_task(_INSTANCE, name).state is not TaskState.COMPLETED:
            time.sleep(_APART_S[0])
    (done,) = crew.results(1)
    return sorted(done["claimed_at"][name] - began[name] for name in names), took
