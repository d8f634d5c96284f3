"""The figures that have a target, and those that explain them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from sqlite_claims import NewTask, SqliteClaimStore

from . import ceiling, memory, pairs
from .bare import BareLoop
from .pairs import NONE, Figure, Round, Target, compare, figure, repeated, timed
from .sizes import Sizes
from .stores import PAYLOAD, WORKER, Stores, opened

ADMITS: dict[str, Any] = {"tags": ["cpu"], "kinds": [""]}


class Bench:
    """What the figures are taken with: sizes, stores, and what has to be closed."""

    def __init__(self, sizes: Sizes, stores: Stores, stack: ExitStack) -> None:
        self.sizes = sizes
        self.stores = stores
        self._stack = stack

    def store(self, path: Path, use_c_core: bool | None = None) -> SqliteClaimStore:
        """An open store."""
        return self._stack.enter_context(opened(path, use_c_core))

    def looks(self, path: Path, limit: int, use_c_core: bool | None = None, **wanted: Any) -> Round:
        """Rounds of finding tasks in a store."""
        store = self.store(path, use_c_core)
        store.find_available_tasks(WORKER, limit, **wanted)
        return repeated(lambda: store.find_available_tasks(WORKER, limit, **wanted), self.sizes.looks)

    def tasks(self) -> int:
        """As many as all rounds of cycles use up, and one that stays, so that the instance doesn't end."""
        return self.sizes.cycles * (self.sizes.rounds + 1) + 1

    def bare(self) -> BareLoop:
        """The yardstick in Python."""
        loop = BareLoop(self.stores.new_path(), self.tasks())
        self._stack.callback(loop.close)
        return loop

    def ceiling(self, payload: bytes | None = None) -> ceiling.Ceiling:
        """The yardstick in C."""
        loop = ceiling.Ceiling(ceiling.build(self.stores.folder), self.stores.fresh(self.tasks(), payload))
        self._stack.callback(loop.close)
        return loop


def find_by_backlog(bench: Bench) -> Iterator[Figure]:
    """Does a longer backlog make finding work slower?"""
    sizes, rounds = bench.sizes, bench.sizes.rounds
    few, many, most = (bench.stores.backlog(number) for number in (sizes.few, sizes.many, sizes.most))
    for limit, target in ((10, Target(1.5)), (1, NONE)):
        base = bench.looks(few, limit)
        yield timed(f"find({limit}) in {sizes.few:,} ready", rounds, base, Target(150) if limit == 10 else NONE)
        yield compare(f"find({limit}), {sizes.many:,} / {sizes.few:,} ready", rounds, bench.looks(many, limit), base)
        yield compare(
            f"find({limit}), {sizes.most:,} / {sizes.few:,} ready", rounds, bench.looks(most, limit), base, target
        )


def find_behind(bench: Bench) -> Iterator[Figure]:
    """Does what may not be taken, or not yet, make finding slower?"""
    sizes, rounds = bench.sizes, bench.sizes.rounds
    base = bench.looks(bench.stores.backlog(sizes.few), 10, **ADMITS)
    behind = bench.looks(bench.stores.behind_ineligible(sizes.few, sizes.ineligible), 10, **ADMITS)
    yield compare(f"find(10), behind {sizes.ineligible:,} ineligible / nothing", rounds, behind, base, Target(2))
    behind = bench.looks(bench.stores.behind_not_yet(sizes.few, sizes.not_yet), 10, **ADMITS)
    yield compare(
        f"find(10), behind {sizes.not_yet:,} delayed and {sizes.not_yet:,} held / nothing", rounds, behind, base, NONE
    )


def find_by_lanes(bench: Bench) -> Iterator[Figure]:
    """What do lanes and aging cost?"""
    sizes, rounds, stores = bench.sizes, bench.sizes.rounds, bench.stores
    one, all = stores.lanes(sizes.many, 1), stores.lanes(sizes.many, sizes.lanes)
    for limit, target in ((10, Target(15)), (1, NONE)):
        yield compare(
            f"find({limit}), {sizes.lanes} lanes / 1", rounds, bench.looks(all, limit), bench.looks(one, limit), target
        )
    aging = stores.lanes(sizes.many, 1, aging=True), stores.lanes(sizes.many, sizes.lanes, aging=True)
    for name, with_aging, without in (("1 lane", aging[0], one), (f"{sizes.lanes} lanes", aging[1], all)):
        yield compare(f"find(10), {name}, aging / none", rounds, bench.looks(with_aging, 10), bench.looks(without, 10))
    for name, path in (("1 lane", one), (f"{sizes.lanes} lanes", all)):
        yield compare(
            f"find(10), {name}, Python twin / C core",
            rounds,
            bench.looks(path, 10, use_c_core=False),
            bench.looks(path, 10),
        )


def cycles(bench: Bench) -> Iterator[Figure]:
    """Claim and complete, one at a time and in batches, beside a bare loop and plain C."""
    sizes, rounds = bench.sizes, bench.sizes.rounds
    one = bench.store(bench.stores.fresh(bench.tasks()))
    bare = bench.bare()
    yield compare(
        "cycle one at a time, of the bare apsw loop",
        rounds,
        repeated(lambda: cycle(one), sizes.cycles),
        repeated(bare.cycle, sizes.cycles),
        Target(0.5, "at least"),
        rate=True,
    )
    number = sizes.cycles // sizes.batch
    some, bare = bench.store(bench.stores.fresh(bench.tasks())), bench.bare()
    yield compare(
        f"cycle in batches of {sizes.batch}, of the bare apsw loop",
        rounds,
        repeated(lambda: batch(some, sizes.batch), number, sizes.batch),
        repeated(lambda: bare.batch(sizes.batch), number, sizes.batch),
        rate=True,
    )
    if not ceiling.has_compiler():
        return
    for size, name in ((1, "one at a time"), (sizes.batch, f"in batches of {sizes.batch}")):
        number = sizes.cycles // size
        store, plain_c = bench.store(bench.stores.fresh(bench.tasks())), bench.ceiling()
        yield compare(
            f"cycle {name}, of plain C",
            rounds,
            repeated(partial(batch, store, size), number, size),
            repeated(partial(plain_c.cycles, number, size), 1, number * size),
            rate=True,
        )


def adding(bench: Bench) -> Iterator[Figure]:
    """Add tasks in batches, beside plain C."""
    if not ceiling.has_compiler():
        return
    size, rounds = bench.sizes.added, bench.sizes.rounds
    for payload, name in ((PAYLOAD, f"with {len(PAYLOAD)} bytes of input"), (b"", "without input")):
        plain_c = bench.ceiling()
        for making, addition, target in ((False, "", Target(0.5, "at least")), (True, ", NewTask made anew", NONE)):
            yield compare(
                f"add {size:,} {name}{addition}, of plain C",
                rounds,
                additions(bench.store(bench.stores.fresh(1)), size, payload, making=making),
                repeated(partial(plain_c.add, size, payload), 1, size),
                target,
                rate=True,
            )


def memory_taken(bench: Bench) -> Iterator[Figure]:
    """Does a store's size show in the memory of those who use it?"""
    if not memory.can_tell():
        return
    sizes = bench.sizes
    for number, target in ((sizes.most, Target(20)), (sizes.few, NONE)):
        path = bench.stores.backlog(number)
        mib = memory.added_mib(path, sizes.looks)
        yield figure(f"memory to find and claim among {number:,}, above apsw alone", [mib], "MiB", target)


CASES: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "find-backlog": find_by_backlog,
    "find-behind": find_behind,
    "find-lanes": find_by_lanes,
    "cycle": cycles,
    "add": adding,
    "memory": memory_taken,
}


def figures(sizes: Sizes, only: list[str]) -> Iterator[Figure]:
    """Take all figures, or those of some cases."""
    with tempfile.TemporaryDirectory(prefix="sqlite-claims-bench-") as folder:
        stores = Stores(Path(folder))
        for name in only or CASES:
            with ExitStack() as stack:
                yield from CASES[name](Bench(sizes, stores, stack))


def cycle(store: SqliteClaimStore) -> None:
    """Claim a task and complete it."""
    (claimed,) = store.claim_available_tasks(WORKER)
    store.complete_task(claimed.claim)


def batch(store: SqliteClaimStore, size: int) -> None:
    """The same for so many, in two transactions."""
    if size == 1:
        cycle(store)
        return
    claimed = store.claim_available_tasks(WORKER, size)
    done, lost = store.complete_tasks([(one.claim, b"") for one in claimed])
    if len(done) != size or lost:
        raise RuntimeError(f"completed {len(done)} of {size}")


def new_tasks(size: int, payload: bytes) -> Callable[[], list[NewTask]]:
    """Makes ``size`` tasks a call, under new names each time."""
    calls = count()

    def make() -> list[NewTask]:
        call = next(calls)
        return [NewTask(f"call-{call:03}-task-{number:07}", payload or None) for number in range(size)]

    return make


def additions(store: SqliteClaimStore, size: int, payload: bytes, *, making: bool) -> Round:
    """Rounds of adding ``size`` tasks in one call, with or without the time that making the ``NewTask``s takes."""
    make = new_tasks(size, payload)

    def round() -> float:
        made = [] if making else make()
        began = pairs.clock()
        store.add_tasks("ready", made or make())
        return (pairs.clock() - began) / size

    return round
