"""The figures that have a target, and further figures that explain the figures with a target."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path

from sqlite_claims import NewTask, SqliteClaimStore

from . import ceiling, finding, memory, pairs, pool, waking
from .bench import Bench, batch, cycle
from .crowd import crowd
from .durable import durable
from .pairs import NONE, Figure, Round, Target, compare, figure, repeated
from .sizes import Sizes
from .stores import PAYLOAD, Stores
from .tail import tail
from .wake import wake
from .writes import writes


def cycles(bench: Bench) -> Iterator[Figure]:
    """Measure claims and completions, singly and in batches, compared with the Python baseline and the C baseline."""
    sizes, rounds = bench.sizes, bench.sizes.rounds
    one = bench.store(bench.stores.fresh(bench.tasks()))
    bare = bench.bare()
    yield compare(
        "cycle one at a time / bare apsw loop",
        rounds,
        repeated(lambda: cycle(one), sizes.cycles),
        repeated(bare.cycle, sizes.cycles),
        Target(0.5, "at least"),
        rate=True,
    )
    number = sizes.cycles // sizes.batch
    some, bare = bench.store(bench.stores.fresh(bench.tasks())), bench.bare()
    yield compare(
        f"cycle in batches of {sizes.batch} / bare apsw loop",
        rounds,
        repeated(lambda: batch(some, sizes.batch), number, sizes.batch),
        repeated(lambda: bare.batch(sizes.batch), number, sizes.batch),
        rate=True,
    )
    if not ceiling.has_compiler():
        return
    ways: list[tuple[str, Callable[[Path], SqliteClaimStore], bool]] = [
        ("", bench.store, True),
        (", each page of a commit written separately", bench.store_that_writes_as_sqlite, False),
    ]
    for size, name, bound in ((1, "one at a time", 0.7), (sizes.batch, f"in batches of {sizes.batch}", 0.65)):
        number = sizes.cycles // size
        for way, opened, bounded in ways:
            store, plain_c = opened(bench.stores.fresh(bench.tasks())), bench.ceiling()
            yield compare(
                f"cycle {name}{way} / plain C",
                rounds,
                repeated(partial(batch, store, size), number, size),
                repeated(partial(plain_c.cycles, number, size), 1, number * size),
                Target(bound, "at least") if bounded else NONE,
                rate=True,
            )


def adding(bench: Bench) -> Iterator[Figure]:
    """Measure the adding of tasks in batches, compared with the C baseline."""
    if not ceiling.has_compiler():
        return
    size, rounds = bench.sizes.added, bench.sizes.rounds
    for payload, name in ((PAYLOAD, f"with {len(PAYLOAD)} bytes of input"), (b"", "without input")):
        plain_c = bench.ceiling()
        ways = (False, "", Target(0.5, "at least")), (True, ", with the time to create the NewTasks", NONE)
        for making, addition, target in ways:
            yield compare(
                f"add {size:,} tasks {name}{addition} / plain C",
                rounds,
                additions(bench.store(bench.stores.fresh(1)), size, payload, making=making),
                repeated(partial(plain_c.add, size, payload), 1, size),
                target,
                rate=True,
            )


def memory_taken(bench: Bench) -> Iterator[Figure]:
    """Measure whether a larger store increases the memory of the processes that use the store."""
    if not memory.can_tell():
        return
    sizes = bench.sizes
    for number, target in ((sizes.most, Target(20)), (sizes.few, NONE)):
        path = bench.stores.backlog(number)
        mib = memory.added_mib(path, sizes.looks)
        yield figure(f"memory to find and claim among {number:,} tasks, minus apsw alone", [mib], "MiB", target)


CASES: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "find-backlog": finding.find_by_backlog,
    "find-behind": finding.find_behind,
    "find-lanes": finding.find_by_lanes,
    "find-limits": finding.find_by_limits,
    "cycle": cycles,
    "add": adding,
    "memory": memory_taken,
    "crowd": crowd,
    "durable": durable,
    "tail": tail,
    "wake": wake,
    "writes": writes,
    "pool": pool.throughput,
    "worker-wake": waking.wake_up,
    "idle": waking.idle,
    "renewals": waking.renewals,
}


def figures(sizes: Sizes, only: list[str]) -> Iterator[Figure]:
    """Measure the figures of all cases, or of the named cases."""
    with tempfile.TemporaryDirectory(prefix="sqlite-claims-bench-") as folder:
        stores = Stores(Path(folder))
        for name in only or CASES:
            with ExitStack() as stack:
                for one in CASES[name](Bench(sizes, stores, stack)):
                    yield dataclasses.replace(one, case=name)


def new_tasks(size: int, payload: bytes) -> Callable[[], list[NewTask]]:
    """Return a function that makes ``size`` tasks per call, with new names in each call."""
    calls = count()

    def make() -> list[NewTask]:
        call = next(calls)
        return [NewTask(f"call-{call:03}-task-{number:07}", payload or None) for number in range(size)]

    return make


def additions(store: SqliteClaimStore, size: int, payload: bytes, *, making: bool) -> Round:
    """Return rounds that add ``size`` tasks in one call. ``making``: include the creation of ``NewTask`` objects."""
    make = new_tasks(size, payload)

    def round() -> float:
        made = [] if making else make()
        began = pairs.clock()
        store.add_tasks("ready", made or make())
        return (pairs.clock() - began) / size

    return round
