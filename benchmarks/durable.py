"""Completions that survive a power loss.

The case measures the completions per second, compared with a store that syncs within COMMIT. It also checks that each
completion is on the disk before the store acknowledges the completion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain

from . import strace
from .bench import Bench
from .crew import Crew
from .pairs import NONE, Figure, Target, figure, interleaved, percentile, ratios
from .strace import Call
from .worker import ACKNOWLEDGED

Measures = dict[str, float]
_PROCESSES = (1, 8, 16)
_TARGETS = {1: Target(1.0, "at least"), 8: Target(2.5, "at least")}
_SYNCS = ("fdatasync", "fsync")
_WRITES = ("pwrite64", "pwritev", "pwritev2", "write", "writev")


def durable(bench: Bench) -> Iterator[Figure]:
    """Measure durable completions of tasks claimed before the round or in cycles, and check the syncs with strace."""
    sizes = bench.sizes
    processes = sorted({min(number, sizes.processes[-1]) for number in _PROCESSES})
    with closing(Crew(max(processes))) as crew:
        rounds: dict[tuple[bool, int, bool], Callable[[], Measures]] = {
            (held, number, within): partial(_round, bench, crew, held, number, within)
            for held in (True, False)
            for number in processes
            for within in (False, True)
        }
        taken = interleaved(rounds, sizes.long_rounds, warm_up=0)
    for (held, number, within), samples in taken.items():
        name = f"durable {'completions' if held else 'cycles'}, {number} process{'es' * (number > 1)}"
        if within:
            name += ", synchronous=FULL"
        else:
            rates = ratios(
                [each["rate"] for each in samples], [each["rate"] for each in taken[held, number, True]], rate=False
            )
            target = _TARGETS.get(number, NONE) if held else NONE
            yield figure(f"{name}: rate / synchronous=FULL", rates, "x", target)
        for measure, unit in (("rate", "/s"), ("slowest / fastest process", "x"), ("p50", "ms"), ("p99", "ms")):
            values = [each[measure] for each in samples]
            yield figure(f"{name}: {measure}", values, unit, NONE, {"rounds": values})
    if strace.has_strace():
        for number in processes:
            yield from traced(bench, number)


def _round(bench: Bench, crew: Crew, held: bool, processes: int, within: bool) -> Measures:
    span = bench.sizes.span / 2
    tasks = round(span * bench.sizes.tasks_a_second)
    path = bench.stores.copied(tasks)
    done = crew.work(
        "durable",
        processes,
        span,
        path,
        held=tasks // processes if held else 0,
        within_commit=within,
        durability="process" if within else "full",
        note=False,
    )
    path.unlink()
    each = [worker["tasks"] for worker in done]
    completions = sorted(chain.from_iterable(worker["completions"] for worker in done))
    return {
        "rate": sum(each) / span,
        "slowest / fastest process": min(each) / max(each),
        "p50": percentile(completions, 50) * 1e3,
        "p99": percentile(completions, 99) * 1e3,
    }


def traced(bench: Bench, processes: int, durability: str = "full") -> Iterator[Figure]:
    """Complete tasks in some processes under strace.

    Check that each completion was synced before its acknowledgement.
    """
    span = bench.sizes.span / 2
    path = bench.stores.copied(round(span * bench.sizes.tasks_a_second))
    log = path.with_suffix(".strace")
    with closing(Crew(processes, strace.command(log, ",".join(_SYNCS + _WRITES)))) as crew:
        held = round(span * bench.sizes.tasks_a_second) // processes
        done = crew.work(
            "durable", processes, span, path, held=held, within_commit=False, durability=durability, note=True
        )
    seen = strace.read(log)
    acknowledged, unsynced = acknowledged_unsynced(seen)
    tasks = sum(worker["tasks"] for worker in done)
    if acknowledged != tasks:
        raise RuntimeError(f"strace saw {acknowledged} of {tasks} acknowledgements")
    name = f"durable completions, {processes} process{'es' * (processes > 1)}, by strace"
    yield figure(f"{name}: not synced when acknowledged", [unsynced], f"of {acknowledged}", Target(0))
    yield figure(f"{name}: syncs of the -wal per completion", [_syncs_a_completion(seen)], "")


def acknowledged_unsynced(calls: Iterable[Call]) -> tuple[int, int]:
    """Return the number of acknowledged completions, and the number of these completions that were not synced.

    A completion is synced if a sync, by any process, began after the last write of the completion's commit had ended,
    and succeeded before the completion was acknowledged.
    """
    wrote: dict[int, int] = {}  # for each thread: the end of the thread's last write since its last acknowledgement
    covered = -1  # the latest start of a successful sync: all writes that ended before this time are on the disk
    acknowledged = unsynced = 0
    for call in sorted(calls, key=lambda call: call.began if call.path.endswith(ACKNOWLEDGED) else call.ended):
        if call.name in _SYNCS and call.path.endswith("-wal") and call.result == 0:
            covered = max(covered, call.began)
        elif call.name in _WRITES and call.path.endswith("-wal"):
            wrote[call.thread] = call.ended
        elif call.name == "write" and call.path.endswith(ACKNOWLEDGED):
            acknowledged += 1
            # A completion without any write counts as unsynced.
            unsynced += not wrote.pop(call.thread, covered) < covered
    return acknowledged, unsynced


def _syncs_a_completion(calls: list[Call]) -> float:
    """Return the number of syncs per completion between the first and the last acknowledgement."""
    acknowledgements = [call.began for call in calls if call.path.endswith(ACKNOWLEDGED)]
    first, last = min(acknowledgements), max(acknowledgements)
    syncs = sum(call.name in _SYNCS and call.path.endswith("-wal") and first < call.ended < last for call in calls)
    return syncs / max(len(acknowledgements) - 1, 1)
