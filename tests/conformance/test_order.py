"""The order in which tasks are offered. The order is exact over the whole store."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import NewTask
from sqlite_claims.testing import ManualClock

Offered = Callable[..., list[str]]


def test_priority_goes_first_and_1_is_the_highest(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask(f"p{n}", priority=n) for n in (3, 5, 1, 4, 2)])
    assert offered() == ["p1", "p2", "p3", "p4", "p5"]


def test_a_task_has_priority_3_where_none_was_given(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("low", priority=4), NewTask("plain"), NewTask("high", priority=2)])
    assert offered() == ["high", "plain", "low"]


def test_within_a_priority_what_became_available_first_goes_first(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("delayed", delay=10), NewTask("longer", delay=15)])
    clock.advance(12)
    store.add_tasks("i", [NewTask("added")])
    clock.advance(10)
    assert offered() == ["delayed", "added", "longer"]


def test_ties_go_by_the_order_of_adding(store: Any, offered: Offered) -> None:
    store.add_instance("j", [NewTask("z"), NewTask("a")])
    store.add_instance("i", [NewTask("m"), NewTask("b")])
    assert offered() == ["z", "a", "m", "b"]


def test_ties_between_kinds_and_tags_go_by_the_order_of_adding(store: Any, offered: Offered) -> None:
    kinds, tags = ["x", None, "y"], [["a"], [], ["b", "a"]]
    store.add_instance("i", [NewTask(f"t{n}", kind=kinds[n % 3], tags=tags[n // 3 % 3]) for n in range(20)])
    assert offered() == [f"t{n}" for n in range(20)]


def test_a_limit_cuts_the_exact_order(store: Any, clock: ManualClock, offered: Offered) -> None:
    choice = random.Random(7)
    for n in range(60):
        kind, tags = choice.choice(["x", "y", None]), choice.choice([[], ["a"], ["b"]])
        store.add_instance(f"i{n}", [NewTask(f"t{n}", priority=choice.randint(1, 5), kind=kind, tags=tags)])
        clock.advance(choice.choice([0, 0, 1]))
    everything = offered()
    assert len(everything) == 60
    for limit in range(1, 61):
        assert offered("w", limit) == everything[:limit]


def test_claiming_follows_the_order_of_finding(store: Any, clock: ManualClock, offered: Offered) -> None:
    for n in range(30):
        store.add_instance(f"i{n}", [NewTask(f"t{n}", priority=n % 5 + 1, tags=["a"] if n % 2 else [])])
        clock.advance(n % 3)
    everything = offered()
    claimed: list[str] = []
    while found := store.claim_available_tasks("w", 7):
        claimed += [one.task.task_id for one in found]
    assert claimed == everything


def test_an_unblocked_tasks_place_is_when_it_was_unblocked(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("first", priority=1), NewTask("second", depends_on=["first"])])
    claim = store.claim_task("i", "first", "w", 30)
    clock.advance(1)
    store.add_tasks("i", [NewTask("before")])
    clock.advance(1)
    store.complete_task(claim)
    clock.advance(1)
    store.add_tasks("i", [NewTask("after")])
    assert offered() == ["before", "second", "after"]


def test_an_expired_claims_place_is_its_expiry(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "w", 10)
    clock.advance(5)
    store.add_tasks("i", [NewTask("before")])
    clock.advance(10)
    store.add_tasks("i", [NewTask("after")])
    assert offered() == ["before", "t", "after"]


def test_a_retried_tasks_place_is_when_it_was_retried(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t")])
    store.fail_task(store.claim_task("i", "t", "w", 10), "no", retry=False)
    store.add_tasks("i", [NewTask("before")])
    clock.advance(1)
    store.retry_task("i", "t")
    clock.advance(1)
    store.add_tasks("i", [NewTask("after")])
    assert offered() == ["before", "t", "after"]


def test_pausing_and_resuming_leave_each_task_in_its_place(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("first"), NewTask("due", delay=2)])
    clock.advance(1)
    store.add_instance("j", [NewTask("second")])
    store.pause_instance("i")
    clock.advance(5)
    store.add_instance("k", [NewTask("last")])
    assert offered() == ["second", "last"]
    store.resume_instance("i")
    assert offered() == ["first", "second", "due", "last"]


def test_a_task_given_back_while_its_instance_is_paused_has_its_old_position_after_the_resume(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b")])
    clock.advance(1)
    store.add_instance("j", [NewTask("c")])
    claim = store.claim_task("i", "a", "w", 30)
    store.pause_instance("i")
    store.release_task(claim)
    assert offered() == ["c"]
    store.resume_instance("i")
    assert offered() == ["a", "b", "c"]


# -- aging


def test_a_new_store_does_not_age(store: Any, clock: ManualClock, offered: Offered) -> None:
    assert store.aging_interval is None
    store.add_instance("i", [NewTask("old", priority=5)])
    clock.advance(10**7)
    store.add_tasks("i", [NewTask("new", priority=4)])
    assert offered() == ["new", "old"]


def test_with_aging_each_interval_of_waiting_is_worth_one_level(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.set_aging_interval(60)
    store.add_instance("i", [NewTask("old", priority=3)])
    clock.advance(59)
    store.add_tasks("i", [NewTask("just better", priority=2)])
    clock.advance(2)
    store.add_tasks("i", [NewTask("just worse", priority=2)])
    assert offered() == ["just better", "old", "just worse"]


def test_with_aging_an_exact_tie_goes_by_the_order_of_adding(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.set_aging_interval(60)
    store.add_instance("i", [NewTask("a", priority=3), NewTask("delayed", priority=1, delay=120)])
    clock.advance(60)
    store.add_tasks("i", [NewTask("b", priority=2), NewTask("c", priority=3)])
    clock.advance(60)
    store.add_tasks("i", [NewTask("d", priority=1)])
    assert offered() == ["a", "delayed", "b", "d", "c"]


def test_with_aging_nothing_starves(store: Any, clock: ManualClock) -> None:
    store.set_aging_interval(10)
    store.add_instance("i", [NewTask("humble", priority=5)])
    for n in range(100):
        store.add_tasks("i", [NewTask(f"proud{n}", priority=1)])
        (claimed,) = store.claim_available_tasks("w", 1)
        if claimed.task.task_id == "humble":
            break
        store.complete_task(claimed.claim)
        clock.advance(1)
    assert n == 40


def test_aging_counts_from_when_the_task_became_available(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.set_aging_interval(10)
    store.add_instance("i", [NewTask("delayed", priority=3, delay=100)])
    clock.advance(105)
    store.add_tasks("i", [NewTask("fresh", priority=2)])
    assert offered() == ["fresh", "delayed"]


def test_the_aging_interval_belongs_to_the_store_and_can_be_taken_away(
    bench: Any, clock: ManualClock, offered: Offered
) -> None:
    bench.store.set_aging_interval(0.5)
    other = bench.open()
    assert other.aging_interval == 0.5
    if other is not bench.store:
        other.close()
    assert bench.reopen().aging_interval == 0.5
    bench.store.add_instance("i", [NewTask("old", priority=5)])
    clock.advance(100)
    bench.store.add_tasks("i", [NewTask("new", priority=1)])
    assert offered() == ["old", "new"]
    bench.store.set_aging_interval(None)
    assert bench.store.aging_interval is None
    assert offered() == ["new", "old"]


@pytest.mark.parametrize("interval", [0.000001, 86_400, 250_000_000_000])
def test_extreme_aging_intervals_keep_the_exact_order(
    store: Any, clock: ManualClock, offered: Offered, interval: float
) -> None:
    store.set_aging_interval(interval)
    store.add_instance("i", [NewTask("low", priority=5)])
    clock.advance(1)
    store.add_tasks("i", [NewTask("high", priority=1)])
    assert offered() == (["low", "high"] if interval < 0.1 else ["high", "low"])


# -- workers on which a task has failed


def _fail(store: Any, task_id: str, worker_id: str, **more: Any) -> None:
    store.fail_task(store.claim_task("i", task_id, worker_id, 30), "no", retry_in=0, **more)


def test_tasks_that_last_failed_on_this_worker_come_last_in_its_page(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a", priority=1), NewTask("b", priority=2), NewTask("c", priority=3)])
    _fail(store, "a", "w")
    assert offered("w") == ["b", "c", "a"]
    assert offered("v") == ["a", "b", "c"]
    assert [claimed.task.task_id for claimed in store.claim_available_tasks("w", 5)] == ["b", "c", "a"]


def test_tasks_that_last_failed_on_this_worker_are_not_pushed_out_of_a_page(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a", priority=1), NewTask("b", priority=2), NewTask("c", priority=3)])
    _fail(store, "a", "w")
    assert offered("w", 2) == ["b", "a"]
    assert offered("w", 1) == ["a"]


def test_only_the_last_attempt_counts(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a", priority=1), NewTask("b", priority=2)])
    _fail(store, "a", "w")
    _fail(store, "a", "v")
    assert offered("w") == ["a", "b"]
    assert offered("v") == ["b", "a"]


def test_a_claim_that_was_given_back_was_no_attempt(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a", priority=1), NewTask("b", priority=2)])
    _fail(store, "a", "w")
    store.release_task(store.claim_task("i", "a", "v", 30))
    assert offered("w") == ["b", "a"]


@pytest.mark.parametrize("how", ["expired", "taken over", "worker died", "rebooted"])
def test_an_attempt_that_was_lost_did_not_fail_on_anybody(
    bench: Any, clock: ManualClock, offered: Offered, how: str
) -> None:
    store = bench.store
    store.add_instance("i", [NewTask("a", priority=1), NewTask("b", priority=2)])
    _fail(store, "a", "w")
    assert offered("w") == ["b", "a"]
    session = store.open_session("v")
    store.claim_task("i", "a", "v", 10, session=session)
    if how == "rebooted":
        bench.kill(session)
        bench.reboot()
    elif how == "worker died":
        bench.kill(session)
    else:
        clock.advance(10)
    if how == "taken over":
        store.release_task(store.claim_task("i", "a", "v", 10))
    assert offered("w") == ["a", "b"]


def test_a_retried_task_has_failed_on_nobody(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a", priority=1), NewTask("b", priority=2)])
    store.fail_task(store.claim_task("i", "a", "w", 30), "no", retry=False)
    store.retry_task("i", "a")
    assert offered("w") == ["a", "b"]
