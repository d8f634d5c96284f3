"""The throughput of many processes that claim and complete tasks on one file, and each process's share of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain

from .bench import Bench
from .crew import Crew
from .pairs import NONE, Figure, Target, figure, interleaved, percentile, ratios

Measures = dict[str, float]
_UNITS = {
    "rate": "/s",
    "slowest / fastest process": "x",
    "claim p50": "ms",
    "claim p99": "ms",
    "slowest claim": "ms",
    "slowest completion": "ms",
    "CPU per 1,000 tasks": "ms",
    "context switches per 1,000 tasks": "",
    "busy errors": "",
}
_TARGETS = {
    "slowest / fastest process": Target(0.7, "at least"),
    "claim p99": Target(20),
    "slowest claim": Target(100),
    "busy errors": Target(0),
}
_TARGETS_ARE_FOR = 8
# The number of tasks in a batch, if processes claim in batches.
_BATCH = 10


def crowd(bench: Bench) -> Iterator[Figure]:
    """Measure many processes that wait for the write lock, with the doorbell and with SQLite's busy handler."""
    sizes = bench.sizes
    most = max(sizes.processes)
    with closing(Crew(most)) as crew:
        rounds: dict[tuple[int, int, bool], Callable[[], Measures]] = {}
        for batch, processes in [(1, number) for number in sizes.processes] + [(_BATCH, min(_TARGETS_ARE_FOR, most))]:
            span = sizes.span if processes == _TARGETS_ARE_FOR and batch == 1 else sizes.span / 2
            for sqlites in (False, True):
                rounds[batch, processes, sqlites] = partial(_round, bench, crew, batch, processes, span, sqlites)
        taken = interleaved(rounds, sizes.long_rounds, warm_up=0)
    for (batch, processes, sqlites), samples in taken.items():
        name = f"{processes} process{'es' * (processes > 1)}{f', batches of {batch}' * (batch > 1)}"
        if not sqlites:
            others = taken[batch, processes, True]
            rates = ratios([each["rate"] for each in samples], [each["rate"] for each in others], rate=False)
            yield figure(
                f"{name}: rate / SQLite's handler",
                rates,
                "x",
                _target(processes, sqlites, Target(0.75, "at least")),
            )
        else:
            name += ", SQLite's handler"
        for measure, unit in _UNITS.items():
            values = [sample[measure] for sample in samples]
            target = _target(processes, sqlites, _TARGETS.get(measure, NONE))
            yield figure(f"{name}: {measure}", values, unit, target, {"rounds": values})


def _target(processes: int, sqlites: bool, target: Target) -> Target:
    return target if processes == _TARGETS_ARE_FOR and not sqlites else NONE


def _round(bench: Bench, crew: Crew, batch: int, processes: int, span: float, sqlites: bool) -> Measures:
    tasks = round(span * bench.sizes.tasks_a_second * (4 if batch > 1 else 1))
    path = bench.stores.copied(tasks)
    done = crew.work("crowd", processes, span, path, batch=batch, sqlites_handler=sqlites)
    path.unlink()
    each = [worker["tasks"] for worker in done]
    claims = sorted(chain.from_iterable(worker["claims"] for worker in done))
    return {
        "rate": sum(each) / span,
        "slowest / fastest process": min(each) / max(each),
        "claim p50": percentile(claims, 50) * 1e3,
        "claim p99": percentile(claims, 99) * 1e3,
        "slowest claim": claims[-1] * 1e3,
        "slowest completion": max(chain.from_iterable(worker["completions"] for worker in done)) * 1e3,
        "CPU per 1,000 tasks": sum(worker["cpu"] for worker in done) / sum(each) * 1e6,
        "context switches per 1,000 tasks": sum(worker["switches"] for worker in done) / sum(each) * 1000,
        "busy errors": sum(worker["busy"] for worker in done),
    }
