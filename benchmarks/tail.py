"""The slowest cycles of claim and completion in a store that only one process uses, and the size of its -wal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import apsw

from sqlite_claims.sqlite.connection import WAL_BYTES_MAX

from .bare import BareLoop
from .bench import Bench, cycle
from .crew import Crew
from .pairs import NONE, Figure, Target, figure, interleaved, percentile, ratios
from .stores import opened

_MIB = 1 << 20
_BOUND = Target(WAL_BYTES_MAX / _MIB)
_PERCENTS = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9, "slowest": 100.0}
# The number of processes that open and close the store at the same time.
_VISITORS = 4


def tail(bench: Bench) -> Iterator[Figure]:
    """Measure the slowest cycles of the store and of the baseline, which runs checkpoints within its commits.

    The store and the baseline run in turn on the same disk.
    """
    rounds = bench.sizes.long_rounds
    taken: dict[str, dict[str, list[float]]] = {"ours": {}, "bare": {}}
    wal = []
    for _ in range(rounds):
        samples, grown = _slices(bench)
        wal.append(grown / _MIB)
        for who, seconds in samples.items():
            for name, percent in _PERCENTS.items():
                taken[who].setdefault(name, []).append(percentile(seconds, percent) * 1e3)
    number = f"{bench.sizes.tail:,}"
    for name in _PERCENTS:
        target = Target(0.2) if name == "p99.9" else NONE
        of_bare = ratios(taken["ours"][name], taken["bare"][name], rate=False)
        yield figure(f"{name} of {number} cycles / bare apsw loop", of_bare, "x", target)
        for who, whose in (("ours", ""), ("bare", ", bare apsw loop")):
            values = taken[who][name]
            yield figure(f"{name} of {number} cycles{whose}", values, "ms", NONE, {"rounds": values})
    yield figure(f"greatest length of the -wal, {number} cycles of one process", wal, "MiB", _BOUND)
    cases = {"held back": lambda: _during_a_reader(bench), "visited": lambda: _visited(bench)}
    yield from _by_name(interleaved(cases, rounds, warm_up=0))


def _by_name(taken: dict[str, list[dict[str, float]]]) -> Iterator[Figure]:
    for samples in taken.values():
        for name in samples[0]:
            values = [each[name] for each in samples]
            unit = "MiB" if "-wal" in name else "ms"
            bounded = unit == "MiB" and "during one read" not in name
            yield figure(name, values, unit, _BOUND if bounded else NONE, {"rounds": values})


def _slices(bench: Bench) -> tuple[dict[str, list[float]], int]:
    """Return the sorted times of all cycles, and the largest size of the -wal."""
    cycles = bench.sizes.tail
    path = bench.stores.copied(cycles + 1)
    grown = 0
    with ExitStack() as stack:
        store = stack.enter_context(opened(path))
        bare = stack.enter_context(closing(BareLoop(bench.stores.new_path(), cycles + 1)))
        loops: dict[str, Callable[[], None]] = {"ours": lambda: cycle(store), "bare": bare.cycle}
        taken: dict[str, list[float]] = {who: [] for who in loops}
        for loop in loops.values():
            loop()  # warm-up, which prepares the statements
        for _ in range(cycles // bench.sizes.cycles):
            for who, loop in loops.items():
                taken[who] += _timed(loop, bench.sizes.cycles)
            grown = max(grown, _size(path))
    path.unlink()
    return {who: sorted(seconds) for who, seconds in taken.items()}, grown


def _timed(loop: Callable[[], None], count: int) -> list[float]:
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        loop()
        taken.append(time.perf_counter() - began)
    return taken


def _during_a_reader(bench: Bench) -> dict[str, float]:
    """Measure cycles during a long read transaction, and the -wal after the end of this transaction."""
    cycles = bench.sizes.tail
    path = bench.stores.copied(cycles * 2)
    with ExitStack() as stack:
        store = stack.enter_context(opened(path))
        reader = stack.enter_context(closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)))
        reader.execute("BEGIN; SELECT count(*) FROM claims_instances")
        taken = sorted(_timed(lambda: cycle(store), cycles))
        held = _size(path)
        reader.execute("COMMIT")
        _timed(lambda: cycle(store), cycles // 2)
        left = _size(path)
    path.unlink()
    return {
        f"length of the -wal after {cycles:,} cycles during one read transaction": held / _MIB,
        f"length of the -wal {cycles // 2:,} cycles after the read transaction": left / _MIB,
        f"p99.9 of {cycles:,} cycles during one read transaction": percentile(taken, 99.9) * 1e3,
    }


def _visited(bench: Bench) -> dict[str, float]:
    """Measure the -wal while short-lived processes use the store. Half of these processes exit without closing the
    store."""
    span = bench.sizes.span
    path = bench.stores.copied(round(span * bench.sizes.tasks_a_second))
    with closing(Crew(_VISITORS)) as crew:
        done = crew.work("visits", _VISITORS, span, path, cycles=bench.sizes.looks)
    visits = sum(worker["visits"] for worker in done)
    path.unlink()
    return {
        f"greatest length of the -wal, {_VISITORS} processes at a time that start and exit": max(
            worker["wal"] for worker in done
        )
        / _MIB,
        "time of such a process, from start to exit": span * _VISITORS / visits * 1e3,
    }


def _size(store: Path) -> int:
    return Path(f"{store}-wal").stat().st_size
