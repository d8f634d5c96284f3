"""Ready tasks of a resumed instance are found at once and in the correct order, whether their rows are in shared lanes
or in own lanes. The tests search at three moments: within the transaction that resumes the instance, while the
instance's rows are being moved, and after the process that moved the rows was killed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import InMemoryClaimStore, NewTask, SqliteClaimStore
from sqlite_claims.sqlite.backend import SqliteBackend
from sqlite_claims.sqlite.operations import adding, control, sweep
from sqlite_claims.testing import ManualClock

from ..conftest import WITH_CORE, Bench

CORES = [True, False] if WITH_CORE else [False]


def test_a_transaction_claims_what_it_has_resumed(store: Any) -> None:
    store.add_instance("order", [NewTask(f"a{number:03}", kind="done") for number in range(500)] + [NewTask("z")])
    found = store.claim_available_tasks("w", 500, kinds=["done"])
    store.complete_tasks([(work.claim, b"") for work in found])
    store.pause_instance("order")
    with store.transaction() as tx:
        tx.resume_instance("order")
        assert tx.get_task("order", "z").state == "ready"
        assert [work.task.task_id for work in tx.claim_available_tasks("w", 5)] == ["z"]


def test_tasks_that_a_transaction_has_resumed_are_found_in_order_after_the_commit(
    store: Any, clock: ManualClock, offered: Callable[..., list[str]]
) -> None:
    for number, name in enumerate(("first", "second", "third")):
        store.add_instance(name, [NewTask(f"{name}-{n:03}", priority=n % 5 + 1) for n in range(150 * (number + 1))])
        clock.advance(1)
    order = offered()
    store.pause_instance("first")
    store.pause_instance("third")
    with store.transaction() as tx:
        tx.resume_instance("first")
        tx.resume_instance("third")
    assert store.wait_for_tasks(0)
    assert [offered() for _ in range(5)] == [order] * 5
    assert store.stats().oldest_ready_age == 3


def test_an_instance_paused_again_before_its_rows_have_followed_is_paused(
    store: Any, offered: Callable[..., list[str]]
) -> None:
    store.add_instance("order", [NewTask(f"t{number:03}") for number in range(700)])
    store.add_instance("other", [NewTask("u", priority=5)])
    store.pause_instance("order")
    with store.transaction() as tx:
        tx.resume_instance("order")
    assert len(offered()) == 701
    with store.transaction() as tx:
        tx.pause_instance("order")
    assert offered() == ["u"]


def test_a_store_that_only_reads_finds_what_was_resumed(bench: Bench, offered: Callable[..., list[str]]) -> None:
    if not bench.implementation.startswith("sqlite"):
        pytest.skip("there is no other store on the same tasks that only reads")
    store = bench.store
    store.add_instance("order", [NewTask(f"t{number:03}") for number in range(700)])
    order = offered()
    store.pause_instance("order")
    with store.transaction() as tx:
        tx.resume_instance("order")
    with SqliteClaimStore(store.path, read_only=True, clock=bench.clock) as reader:
        assert [task.task_id for task in reader.find_available_tasks("w", 1000)] == order


# Lanes of the rows of the resumed instance "large". "both": the first rows are in shared lanes, and the remaining rows
# are in own lanes.
LANES = {"shared": 10**9, "both": 12, "own": 1}


@pytest.mark.parametrize("use_c_core", CORES)
@pytest.mark.parametrize("strays_max", [0, 5000])
@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("aging", [None, 30])
def test_the_order_is_exact_at_each_step_on_the_way(
    bench_free_path: str,
    monkeypatch: pytest.MonkeyPatch,
    use_c_core: bool,
    strays_max: int,
    lanes: str,
    aging: int | None,
) -> None:
    monkeypatch.setattr(control, "ROWS_PER_MOVE", 1)
    monkeypatch.setattr(control, "STRAYS_MAX", strays_max)
    monkeypatch.setattr(adding, "OWN_LANES_FROM", LANES[lanes])
    monkeypatch.setattr(sweep, "REST_US", 0)
    monkeypatch.setattr(SqliteBackend, "_moves", lambda _: ())  # as if the caller had died before the first step
    clock = ManualClock()
    store = SqliteClaimStore(bench_free_path, clock=clock, use_c_core=use_c_core, durability="process")
    oracle = InMemoryClaimStore(clock=clock)
    both = (oracle, store)

    def same(question: Callable[[Any], Any]) -> Any:
        answers = [question(one) for one in both]
        assert answers[0] == answers[1]
        return answers[0]

    def looks() -> None:
        for kinds, tags, limit in itertools.product((None, ["x"], ["y", ""]), ((), ["a"]), (1, 3, 1000)):
            same(lambda one: one.find_available_tasks("w", limit, kinds=kinds, tags=tags))  # noqa: B023
        same(lambda one: one.stats())
        same(lambda one: one.wait_for_tasks(0, kinds=["x"]))

    same(lambda one: one.set_aging_interval(aging))
    kinds = itertools.cycle([None, "x", "y"])
    for turn in range(5):
        for name in ("large", "paused", "other"):
            task = [
                NewTask(
                    f"{name}{turn}{n}", kind=next(kinds), tags=["a"] * (n % 2), priority=(turn + n) % 5 + 1, max_lost=2
                )
                for n in range(4)
            ]
            same(lambda one: one.add_tasks(name, task) if turn else one.add_instance(name, task))  # noqa: B023
            clock.advance(7)
    # Some tasks are claimed. Some of these claims will expire, and some of the expired claims are last claims.
    same(lambda one: [work.task for work in one.claim_available_tasks("w", 8, ttl=10)])
    clock.advance(20)
    same(lambda one: [work.task for work in one.claim_available_tasks("w", 6, ttl=10)])
    for name in ("large", "paused"):
        same(lambda one: one.pause_instance(name))  # noqa: B023
        while store._db.write(control.move_step, False):
            pass
    clock.advance(20)
    same(lambda one: one.resume_instance("large"))
    looks()
    for _ in range(12):
        same(lambda one: [work.task for work in one.claim_available_tasks("w", 1, ttl=15)])
        looks()
        clock.advance(4)
    while store._db.write(control.move_step, False):
        looks()
    looks()
    assert store.check() == []
    store.close()


@pytest.fixture
def bench_free_path(tmp_path: Any) -> str:
    return str(tmp_path / "jobs.db")
