"""Leases, the order of tasks, and delays stay correct after a clock step, after a sleep of the machine, and after a
reboot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sqlite_claims import ClaimLostError, NewTask, TaskState
from sqlite_claims.testing import ManualClock

Offered = Callable[..., list[str]]
steps = pytest.mark.parametrize("step", [-(10**9), -3600, 3600, 10**9])


@steps
def test_a_step_of_the_wall_clock_neither_hides_tasks_nor_moves_them(
    store: Any, clock: ManualClock, offered: Offered, step: int
) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("delayed", delay=10)])
    clock.step_wall(step)
    store.add_tasks("i", [NewTask("b")])
    assert offered() == ["a", "b"]
    clock.advance(10)
    store.add_tasks("i", [NewTask("c")])
    assert offered() == ["a", "b", "delayed", "c"]


@steps
def test_a_step_of_the_wall_clock_neither_ends_nor_prolongs_a_claim(
    store: Any, clock: ManualClock, offered: Offered, step: int
) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    clock.step_wall(step)
    assert offered() == []
    assert claim.remaining() == store.get_task("i", "t").claim.remaining() == 30
    clock.advance(29)
    assert store.claim_task("i", "t", "v", 30) is None
    clock.advance(1)
    assert offered() == ["t"]


@steps
def test_a_step_of_the_wall_clock_does_not_change_who_waited_longest(
    store: Any, clock: ManualClock, offered: Offered, step: int
) -> None:
    store.set_aging_interval(60)
    store.add_instance("i", [NewTask("old", priority=3)])
    clock.advance(61)
    clock.step_wall(step)
    store.add_tasks("i", [NewTask("new", priority=2)])
    assert offered() == ["old", "new"]


def _wall(clock: ManualClock, seconds: float = 0) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=clock.wall_us(), seconds=seconds)


def test_a_time_of_day_comes_when_the_wall_clock_says_so(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t", available_at=_wall(clock, 3600))])
    clock.advance(1800)
    clock.step_wall(-600)
    clock.advance(1800)
    assert offered() == []
    clock.step_wall(600)
    assert offered() == ["t"]


def test_a_time_of_day_that_has_come_and_was_seen_stays_come(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t", available_at=_wall(clock, 60))])
    clock.advance(60)
    assert offered() == ["t"]
    clock.step_wall(-3600)
    assert offered() == ["t"]
    assert store.get_task("i", "t").state is TaskState.READY


def test_people_see_the_wall_clock(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    clock.step_wall(-7200)
    claim = store.claim_task("i", "t", "w", 30)
    assert claim.claimed_at == clock.wall_us() / 1e6
    assert claim.expires_at == clock.wall_us() / 1e6 + 30
    assert store.get_task("i", "t").started_at < store.get_task("i", "t").added_at
    clock.step_wall(3600)
    clock.advance(5)
    renewed = store.renew_task_claim(claim, 60)
    assert renewed.expires_at == clock.wall_us() / 1e6 + 60
    assert renewed.remaining() == 60
    store.complete_task(renewed)
    assert store.get_task("i", "t").finished_at == _wall(clock)


# -- sleep


@pytest.mark.parametrize("look", ["find", "claim", "by name"])
def test_claims_do_not_run_while_the_machine_sleeps(
    store: Any, clock: ManualClock, offered: Offered, look: str
) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    clock.advance(10)
    clock.sleep(3600)
    if look == "find":
        assert offered() == []
    elif look == "claim":
        assert store.claim_available_tasks("v") == []
    else:
        assert store.claim_task("i", "t", "v", 30) is None
    assert not claim.is_expired()
    assert claim.remaining() == 20
    held = store.get_task("i", "t").claim
    assert held.expires_at == claim.expires_at + 3600
    assert held.remaining() == 20
    clock.advance(19.999999)
    assert offered() == []
    clock.advance(0.000001)
    assert offered() == ["t"]


def test_each_sleep_counts_once(bench: Any, clock: ManualClock, offered: Offered) -> None:
    bench.store.add_instance("i", [NewTask("t")])
    bench.store.claim_task("i", "t", "w", 30)
    clock.sleep(100)
    assert offered() == []
    other = bench.open()
    assert other.find_available_tasks("w", 5) == []
    assert offered() == []
    clock.sleep(100)
    assert other.find_available_tasks("w", 5) == []
    assert offered() == []
    clock.advance(30)
    assert offered() == ["t"]
    if other is not bench.store:
        other.close()


def test_a_sleep_while_nobody_had_the_store_open_counts_too(bench: Any, clock: ManualClock) -> None:
    bench.store.add_instance("i", [NewTask("t")])
    claim = bench.store.claim_task("i", "t", "w", 30)
    bench.go_down()
    clock.sleep(3600)
    store = bench.come_up()
    assert store.find_available_tasks("v", 5) == []
    store.complete_task(claim)


def test_a_claim_that_had_expired_before_the_sleep_has_expired_after_it(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "w", 30)
    clock.advance(40)
    assert offered() == ["t"]
    clock.sleep(3600)
    assert offered() == ["t"]


def test_delays_pass_while_the_machine_sleeps(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t", delay=60), NewTask("day", available_at=_wall(clock, 60))])
    clock.sleep(60)
    assert offered() == ["t", "day"]


def test_a_claim_made_after_the_sleep_is_not_prolonged_for_it(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t")])
    clock.sleep(3600)
    claim = store.claim_task("i", "t", "w", 30)
    assert claim.remaining() == 30
    clock.advance(30)
    assert offered() == ["t"]


def test_clocks_that_are_read_one_after_the_other_are_no_sleep(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    clock.sleep(0.05)
    offered()
    assert store.get_task("i", "t").claim.expires_at == claim.expires_at
    clock.sleep(0.06)
    offered()
    assert store.get_task("i", "t").claim.expires_at == claim.expires_at + 0.11


# -- reboots


def test_after_a_reboot_claims_are_gone_without_a_loss_and_tasks_in_their_place(
    bench: Any, clock: ManualClock, offered: Offered
) -> None:
    bench.store.add_instance("i", [NewTask("endless", max_lost=1), NewTask("free"), NewTask("held"), NewTask("late")])
    claims = [bench.store.claim_task("i", "endless", "w", None), bench.store.claim_task("i", "held", "w", 5000)]
    bench.store.claim_task("i", "late", "w", 5)
    clock.advance(10)
    store = bench.reboot()
    assert offered() == ["endless", "free", "held", "late"]
    for name in ("endless", "held", "late"):
        task = store.get_task("i", name)
        assert (task.state, task.losses, task.attempts, task.claim) == (TaskState.READY, 0, 1, None)
        assert task.worker_id == "w"
    assert list(store.list_claims()) == []
    for claim in claims:
        with pytest.raises(ClaimLostError):
            store.complete_task(claim)
    assert store.find_available_tasks("w", 1)[0].attempt == 2


def test_after_a_reboot_no_worker_is_known(bench: Any) -> None:
    bench.store.add_instance("i", [NewTask("t")])
    session = bench.store.open_session("w")
    bench.store.claim_task("i", "t", "w", None, session=session)
    bench.kill(session)
    store = bench.reboot()
    assert list(store.list_workers()) == []
    task = store.get_task("i", "t")
    assert (task.state, task.losses) == (TaskState.READY, 0)


def test_after_a_reboot_store_time_goes_on_from_where_it_was(bench: Any, clock: ManualClock, offered: Offered) -> None:
    bench.store.add_instance("i", [NewTask("first"), NewTask("delayed", delay=100)])
    clock.advance(40)
    bench.store.add_tasks("i", [NewTask("second")])
    bench.reboot()
    bench.store.add_tasks("i", [NewTask("third")])
    assert offered() == ["first", "second", "third"]
    clock.advance(58)
    assert offered() == ["first", "second", "third"]
    clock.advance(2)
    assert offered() == ["first", "second", "third", "delayed"]


def test_time_while_the_machine_is_off_makes_only_times_of_day_come(
    bench: Any, clock: ManualClock, offered: Offered
) -> None:
    bench.store.add_instance("i", [NewTask("delayed", delay=100), NewTask("day", available_at=_wall(clock, 100))])
    bench.go_down()
    clock.step_wall(3600)
    clock.reboot()
    bench.come_up()
    assert offered() == ["day"]


def test_a_boot_in_the_far_future_does_no_lasting_harm(bench: Any, clock: ManualClock, offered: Offered) -> None:
    bench.store.add_instance("i", [NewTask("old")])
    clock.step_wall(10**9)
    bench.reboot()
    clock.advance(5)
    bench.store.add_tasks("i", [NewTask("from the future"), NewTask("delayed", delay=60)])
    clock.step_wall(-(10**9))
    bench.reboot()
    clock.advance(5)
    bench.store.add_tasks("i", [NewTask("new")])
    assert offered() == ["old", "from the future", "new"]
    assert bench.store.prune(3600) == 0
    clock.advance(60)
    assert offered() == ["old", "from the future", "new", "delayed"]


def test_pruning_goes_by_the_wall_clock_over_reboots(bench: Any, clock: ManualClock) -> None:
    bench.store.add_instance("i", [NewTask("t")])
    bench.store.complete_task(bench.store.claim_task("i", "t", "w", 30))
    bench.reboot()
    assert bench.store.prune(3600) == 0
    clock.step_wall(3601)
    assert bench.store.prune(3600) == 1
