"""Searches for work: in a long backlog, behind tasks that the worker can't claim, and in many lanes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sqlite_claims import SqliteClaimStore

from . import settling
from .bench import ADMITS, Bench
from .pairs import NONE, Figure, Target, compare, repeated, timed
from .stores import WORKER


def find_by_backlog(bench: Bench) -> Iterator[Figure]:
    """Measure whether a longer backlog makes a search for work slower."""
    sizes, rounds = bench.sizes, bench.sizes.rounds
    few, many, most = (bench.stores.backlog(number) for number in (sizes.few, sizes.many, sizes.most))
    for limit, target in ((10, Target(1.5)), (1, NONE)):
        base = bench.looks(few, limit)
        yield timed(
            f"find({limit}) among {sizes.few:,} ready tasks", rounds, base, Target(150) if limit == 10 else NONE
        )
        yield compare(
            f"find({limit}), {sizes.many:,} / {sizes.few:,} ready tasks", rounds, bench.looks(many, limit), base
        )
        yield compare(
            f"find({limit}), {sizes.most:,} / {sizes.few:,} ready tasks", rounds, bench.looks(most, limit), base, target
        )


def find_behind(bench: Bench) -> Iterator[Figure]:
    """Measure whether tasks of higher priority that the worker can't claim make a search for work slower."""
    sizes, rounds = bench.sizes, bench.sizes.rounds
    base = bench.looks(bench.stores.backlog(sizes.few), 10, **ADMITS)
    behind = bench.looks(bench.stores.behind_ineligible(sizes.few, sizes.ineligible), 10, **ADMITS)
    yield compare(f"find(10), behind {sizes.ineligible:,} ineligible tasks / none", rounds, behind, base, Target(2))
    behind = bench.looks(bench.stores.behind_not_yet(sizes.few, sizes.not_yet), 10, **ADMITS)
    yield compare(
        f"find(10), behind {sizes.not_yet:,} delayed and {sizes.not_yet:,} claimed tasks / none",
        rounds,
        behind,
        base,
        NONE,
    )
    yield from settling.figures(bench)


def find_by_limits(bench: Bench) -> Iterator[Figure]:
    """Measure whether tasks of full partitions of a limit make a search for work, or a claim, slower."""
    sizes, rounds, stores = bench.sizes, bench.sizes.rounds, bench.stores
    none, full = stores.limited(sizes.lanes, 0), stores.limited(sizes.lanes, sizes.partitions)
    name = f"{sizes.partitions:,} full partitions"
    yield compare(f"find(10), {name} / none", rounds, bench.looks(full, 10), bench.looks(none, 10), Target(2))
    cycles = [repeated(partial(cycle_and_return, bench.store(path)), sizes.looks) for path in (full, none)]
    yield compare(f"claim and release, {name} / none", rounds, *cycles, Target(2))


def cycle_and_return(store: SqliteClaimStore) -> None:
    """Claim a task and release it."""
    store.release_tasks([claimed.claim for claimed in store.claim_available_tasks(WORKER)])


def find_by_lanes(bench: Bench) -> Iterator[Figure]:
    """Measure the cost of lanes and aging."""
    sizes, rounds, stores = bench.sizes, bench.sizes.rounds, bench.stores
    one, all = stores.lanes(sizes.many, 1), stores.lanes(sizes.many, sizes.lanes)
    for limit, target in ((10, Target(10)), (1, NONE)):
        yield compare(
            f"find({limit}), {sizes.lanes} lanes / 1 lane",
            rounds,
            bench.looks(all, limit),
            bench.looks(one, limit),
            target,
        )
    aging = stores.lanes(sizes.many, 1, aging=True), stores.lanes(sizes.many, sizes.lanes, aging=True)
    for name, with_aging, without in (("1 lane", aging[0], one), (f"{sizes.lanes} lanes", aging[1], all)):
        yield compare(
            f"find(10), {name}, with / without aging", rounds, bench.looks(with_aging, 10), bench.looks(without, 10)
        )
    for name, path in (("1 lane", one), (f"{sizes.lanes} lanes", all)):
        yield compare(
            f"find(10), {name}, Python scan / C core",
            rounds,
            bench.looks(path, 10, use_c_core=False),
            bench.looks(path, 10),
        )
