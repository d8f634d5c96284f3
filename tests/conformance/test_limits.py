"""Limits by concurrency and by rate, and their partitions."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, LimitInfo, NewTask, NotFoundError, SqliteClaimStore
from sqlite_claims.testing import ManualClock


def add(store: Any, *names: str, instance: str = "i", limit: str | None = "disk", **options: Any) -> None:
    tasks = [NewTask(name, limit=limit, **options) for name in names]
    store.add_instance(instance, if_exists="skip")
    store.add_tasks(instance, tasks)


def found(store: Any, limit: int = 10, **choice: Any) -> list[str]:
    return [task.task_id for task in store.find_available_tasks("w", limit, **choice)]


def claim(store: Any, limit: int = 10, ttl: float | None = 60, **choice: Any) -> list[Any]:
    return [claimed.claim for claimed in store.claim_available_tasks("w", limit, ttl, **choice)]


def names(claims: list[Any]) -> list[str]:
    return [claim.task_id for claim in claims]


# -- rules


def test_a_limit_without_a_rule_does_not_limit(store: Any) -> None:
    add(store, "a", "b", "c")
    assert found(store) == ["a", "b", "c"]
    assert store.get_task("i", "a").limit == "disk"
    assert names(claim(store)) == ["a", "b", "c"]


def test_at_most_so_many_tasks_run_at_a_time(store: Any) -> None:
    store.set_limit("disk", concurrency=2)
    add(store, "a", "b", "c", "d")
    assert found(store) == ["a", "b"]
    first, second = claim(store)
    assert found(store) == []
    assert claim(store) == []
    store.complete_task(first)
    assert found(store) == ["c"]
    store.complete_task(second)
    assert names(claim(store)) == ["c", "d"]


def test_each_partition_has_its_own_count(store: Any) -> None:
    store.set_limit("account", concurrency=1)
    add(store, "a1", "a2", limit="account:1")
    add(store, "b1", "b2", limit="account:2")
    add(store, "c1", "c2", limit="account")
    add(store, "d1", "d2", limit="accounts:1")
    assert found(store) == ["a1", "b1", "c1", "d1", "d2"]
    assert names(claim(store)) == ["a1", "b1", "c1", "d1", "d2"]
    assert found(store) == []


@pytest.mark.parametrize(("given", "stored"), [("account:", "account"), ("account:a:b", "account:a:b")])
def test_the_partition_is_the_part_after_the_first_colon(store: Any, given: str, stored: str) -> None:
    add(store, "a", limit=given)
    assert store.get_task("i", "a").limit == stored


@pytest.mark.parametrize("limit", [":x", ":", "", "a" * 257, 7, "a\0"])
def test_a_task_with_a_bad_limit_is_refused(limit: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="limit"):
        NewTask("a", limit=limit)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"concurrency": 0},
        {"concurrency": 10_001},
        {"concurrency": True},
        {"rate": (0, 1)},
        {"rate": (10_001, 1)},
        {"rate": (1, 0)},
        {"rate": (1, timedelta(days=366, microseconds=1))},
        {"rate": (1, -1)},
        {"rate": 5},
        {"rate": (1, 1, 1)},
    ],
)
def test_a_bad_rule_is_refused(store: Any, rule: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        store.set_limit("disk", **rule)
    assert store.list_limits() == []


@pytest.mark.parametrize("name", ["", "a:b", ":", 1, "a" * 257])
def test_a_rule_has_a_name_without_a_partition(store: Any, name: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        store.set_limit(name, concurrency=1)
    with pytest.raises(InvalidArgumentError):
        store.remove_limit(name)


def test_removing_an_unknown_limit_raises_an_error(store: Any) -> None:
    add(store, "a")
    with pytest.raises(NotFoundError):
        store.remove_limit("disk")


def test_a_rule_that_is_set_later_counts_the_claims_before(store: Any) -> None:
    add(store, "a", "b", "c", "d")
    claims = claim(store, 2)
    store.set_limit("disk", concurrency=2)
    assert found(store) == []
    store.complete_task(claims[0])
    assert found(store) == ["c"]


def test_a_lower_bound_takes_nothing_away(store: Any) -> None:
    store.set_limit("disk", concurrency=3)
    add(store, "a", "b", "c", "d")
    claims = claim(store, 3)
    store.set_limit("disk", concurrency=1)
    for held in claims[:2]:
        store.complete_task(held)
        assert found(store) == []
    store.complete_task(claims[2])
    assert found(store) == ["d"]


def test_a_higher_bound_applies_at_once(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b", "c")
    assert len(claim(store)) == 1
    store.set_limit("disk", concurrency=2)
    assert found(store) == ["b"]


def test_a_removed_limit_no_longer_limits(store: Any) -> None:
    store.set_limit("disk", concurrency=1, rate=(1, 60))
    add(store, "a", "b", "c")
    assert len(claim(store)) == 1
    store.remove_limit("disk")
    assert store.list_limits() == []
    assert found(store) == ["b", "c"]
    store.set_limit("disk", rate=(1, 60))  # the claim that was made before the removal is forgotten
    assert found(store) == ["b"]


def test_setting_a_limit_again_replaces_both_parts(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    store.set_limit("disk", rate=(2, 60))
    assert store.list_limits() == [LimitInfo("disk", None, (2, 60.0), 0, 0, 0)]
    add(store, "a", "b", "c")
    assert len(claim(store)) == 2
    store.set_limit("disk", concurrency=3)
    assert found(store) == ["c"]
    store.set_limit("disk", rate=(2, 60))  # the record of the two claims was kept
    assert found(store) == []


def test_limits_are_listed_with_their_counts(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=1)
    store.set_limit("cpu", rate=(3, timedelta(minutes=1)))
    add(store, "a", "b", "c", limit="disk:1")
    add(store, "d", limit="disk:2")
    add(store, "e", limit="disk:2", delay=100)
    add(store, "f", limit=None)
    claim(store, 1, 5)
    assert store.list_limits() == [
        LimitInfo("cpu", None, (3, 60.0), 0, 0, 0),
        LimitInfo("disk", 1, None, 1, 3, 2),
    ]
    clock.advance(5)
    assert store.list_limits()[1] == LimitInfo("disk", 1, None, 0, 3, 2)


# -- which tasks go first


def test_tasks_of_a_full_partition_do_not_stand_in_the_way(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, *(f"full{number}" for number in range(50)), priority=1)
    add(store, "free", limit=None, instance="j")
    assert len(claim(store, 1)) == 1
    assert found(store) == ["free"]
    assert names(claim(store)) == ["free"]


def test_the_first_in_the_order_go_first(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=2)
    add(store, "late", priority=3)
    clock.advance(1)
    add(store, "low", priority=5)
    add(store, "plain", limit=None, priority=2)
    add(store, "high", priority=1)
    assert found(store) == ["high", "plain", "late"]
    store.set_aging_interval(0.1)
    clock.advance(1)
    add(store, "new", priority=1)
    assert found(store, 2) == ["late", "high"]


def test_the_first_that_the_worker_may_take_goes(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "mail", kind="mail")
    add(store, "gpu", kind="print", tags=["gpu"])
    add(store, "print", kind="print")
    assert found(store) == ["mail"]
    assert found(store, kinds=["print"]) == ["gpu"]
    assert found(store, kinds=["print"], tags=["cpu"]) == ["print"]
    assert names(claim(store, kinds=["print"], tags=["cpu"])) == ["print"]
    assert found(store) == []


def test_paused_instances_do_not_stand_in_the_way(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", instance="paused", priority=1)
    add(store, "b")
    store.pause_instance("paused")
    assert found(store) == ["b"]
    store.resume_instance("paused")
    assert found(store) == ["a"]


def test_tasks_added_to_a_paused_instance_are_found_after_the_resume(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a")
    store.pause_instance("i")
    add(store, "b", priority=1)
    assert found(store) == []
    store.resume_instance("i")
    assert found(store) == ["b"]


def test_limited_bounds_the_claimed_tasks_with_a_limit(store: Any) -> None:
    add(store, "a", "b", "c", priority=1)
    add(store, "d", "e", limit=None)
    assert claim(store, limited=0, limit=1)[0].task_id == "d"
    assert names(claim(store, 3, limited=1)) == ["a", "e"]
    assert names(claim(store, 3, limited=None)) == ["b", "c"]
    with pytest.raises(InvalidArgumentError, match="limited"):
        claim(store, limited=-1)


def test_by_name_a_free_slot_is_enough(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b", "c")
    held = store.claim_task("i", "c", "w", 60)
    assert held is not None
    assert store.claim_task("i", "a", "w", 60) is None
    store.release_task(held)
    assert store.claim_task("i", "b", "w", 60) is not None


def test_a_scheduled_task_waits_for_its_time_and_a_slot(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a")
    add(store, "b", delay=10)
    (held,) = claim(store)
    clock.advance(10)
    assert found(store) == []
    store.complete_task(held)
    assert found(store) == ["b"]


def test_a_task_that_is_due_by_the_calendar_counts(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", available_at=datetime.fromtimestamp(clock.wall_us() / 1e6, UTC) + timedelta(seconds=5))
    assert found(store) == []
    clock.advance(5)
    assert store.list_limits()[0].waiting == 1
    assert names(claim(store)) == ["a"]


def test_an_unblocked_task_counts(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "first", limit=None)
    add(store, "second", depends_on=["first"])
    (held,) = claim(store)
    assert found(store) == []
    store.complete_task(held)
    assert found(store) == ["second"]


# -- how a slot becomes free


@pytest.mark.parametrize("end", ["complete", "fail", "fail for good", "release", "release by name", "cancel", "reboot"])
def test_a_slot_is_free_when_the_claim_ends(store: Any, bench: Any, end: str) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", instance="other")
    add(store, "b", priority=4)
    (held,) = claim(store, 1, None)
    assert held.task_id == "a"
    assert found(store) == []
    if end == "complete":
        store.complete_tasks([(held, b"")])
    elif end == "fail":
        store.fail_task(held, "no luck", retry_in=60)
    elif end == "fail for good":
        store.fail_task(held, "no luck", retry=False)
    elif end == "release":
        store.release_task(held, delay=60)
    elif end == "release by name":
        store.release_task_claim("other", "a", "w")
    elif end == "cancel":
        store.cancel_instance("other")
    elif end == "reboot":
        store = bench.reboot()
    assert found(store) == (["a"] if end in ("release by name", "reboot") else ["b"])


def test_a_slot_is_free_when_the_worker_dies(store: Any, bench: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b")
    session = store.open_session("v")
    assert len(store.claim_available_tasks("v", 5, None, session=session)) == 1
    assert found(store) == []
    bench.kill(session)
    assert len(found(store)) == 1


def test_a_slot_is_held_while_the_instance_is_paused(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", instance="paused")
    add(store, "b")
    (held,) = claim(store)
    store.pause_instance("paused")
    assert found(store) == []
    store.complete_task(held)
    assert found(store) == ["b"]


def test_an_expired_claim_counts_as_free_and_its_owner_may_go_on(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b")
    (held,) = claim(store, 1, 5)
    clock.advance(5)
    assert found(store) == ["b"]  # the position of "a" is the expiry of its claim
    held = store.renew_task_claim(held, 5)
    assert found(store) == []
    assert claim(store) == []
    clock.advance(5)
    store.extend_task_claim("i", "a", "w", 10)
    assert found(store) == []
    clock.advance(10)
    assert found(store) == ["b"]
    store.complete_task(held)


def test_a_claim_that_needs_the_slot_makes_the_oldest_expired_claim_a_loss(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=2)
    add(store, "a", instance="other", kind="mail")
    add(store, "b", "c", "d")
    first = store.claim_task("other", "a", "v", 20)
    second = store.claim_task("i", "b", "v", 10)
    clock.advance(30)
    assert names(claim(store, 1, kinds=[""])) == ["c"]
    assert store.get_task("i", "b").losses == 1
    assert store.get_task("i", "b").state == "ready"
    assert [info.outcome for info in store.list_attempts("i", "b")] == ["lost"]
    assert store.get_task("other", "a").losses == 0
    store.renew_task_claim(first, 60)
    assert store.renew_task_claims([second], 60).lost == [second]
    assert found(store) == []


def test_by_name_a_claim_takes_the_slot_of_an_expired_claim(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b")
    store.claim_task("i", "a", "v", 10)
    clock.advance(10)
    assert store.claim_task("i", "b", "v", 10) is not None
    assert store.get_task("i", "a").losses == 1
    assert store.claim_task("i", "a", "v", 10) is None


def test_the_expired_claim_of_a_paused_instance_is_lost_to_a_claim_that_needs_its_slot(
    store: Any, clock: ManualClock
) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", instance="paused")
    add(store, "b")
    claim(store, 1, 10)
    store.pause_instance("paused")
    assert found(store) == []
    clock.advance(10)
    assert names(claim(store)) == ["b"]
    assert store.get_task("paused", "a").losses == 1
    assert store.get_task("paused", "a").state == "ready"


def test_an_expired_last_claim_fails_when_its_slot_is_needed(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", max_lost=1)
    add(store, "b", instance="j")
    claim(store, 1, 10)
    clock.advance(10)
    assert store.claim_task("j", "b", "w", 10) is not None
    assert store.get_task("i", "a").state == "failed"


def test_a_claim_with_a_shorter_lease_frees_its_slot_earlier(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b")
    (held,) = claim(store, 1, None)
    store.renew_task_claim(held, 100)
    store.renew_task_claim(held, 10)
    clock.advance(10)
    assert found(store) == ["b"]


def test_a_retried_task_counts(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b")
    (held,) = claim(store, 1)
    store.fail_task(held, "no luck", retry=False)
    (held,) = claim(store)
    store.retry_task("i", "a")
    assert found(store) == []
    store.complete_task(held)
    assert found(store) == ["a"]


# -- rates


def test_a_rate_bounds_the_claims_in_each_window(store: Any, clock: ManualClock) -> None:
    store.set_limit("api", rate=(2, 10))
    add(store, "a", "b", "c", "d", limit="api")
    (first,) = claim(store, 1)
    clock.advance(4)
    (second,) = claim(store, 5)
    store.complete_task(first)
    store.release_task(second)  # a claim counts, even if it is released
    assert found(store) == []
    assert store.claim_task("i", "b", "w", 5) is None
    clock.advance(5)
    assert found(store) == []
    clock.advance(1)  # ten seconds after the first claim
    assert found(store) == ["b"]
    assert names(claim(store)) == ["b"]
    clock.advance(3)
    assert found(store) == []
    clock.advance(1)
    assert found(store) == ["c"]


def test_a_rate_is_used_to_the_full_and_never_exceeded(store: Any, clock: ManualClock) -> None:
    store.set_limit("api", rate=(3, 1))
    add(store, *(f"t{number:02}" for number in range(40)), limit="api")
    times: list[int] = []
    for step in range(97):
        taken = claim(store, 1 + step % 2)
        times += [clock.boot_us()] * len(taken)
        store.complete_tasks([(held, b"") for held in taken])
        clock.advance(0.1)
    assert all(later - earlier >= 1_000_000 for earlier, later in zip(times, times[3:], strict=False))
    assert len(times) == 30


def test_claims_in_one_transaction_all_count(store: Any) -> None:
    store.set_limit("api", rate=(3, 10))
    add(store, "a", limit="api")
    with store.transaction() as tx:
        for _ in range(3):
            tx.release_task(tx.claim_task("i", "a", "w", 5))
        assert tx.claim_task("i", "a", "w", 5) is None
    assert found(store) == []


def test_both_bounds_apply(store: Any, clock: ManualClock) -> None:
    store.set_limit("api", concurrency=1, rate=(2, 10))
    add(store, "a", "b", "c", limit="api")
    (held,) = claim(store)
    store.complete_task(held)
    (held,) = claim(store)
    store.complete_task(held)
    assert found(store) == []
    clock.advance(10)
    assert found(store) == ["c"]


def test_a_rate_counts_claims_of_tasks_that_are_gone(store: Any, clock: ManualClock) -> None:
    store.set_limit("api", rate=(1, 1000))
    add(store, "a", limit="api")
    (held,) = claim(store)
    store.complete_task(held)
    clock.advance(10)
    assert store.prune(1) == 1
    add(store, "b", limit="api")
    assert found(store) == []
    clock.advance(990)
    assert found(store) == ["b"]


# -- what else knows of limits


def test_transactions_have_limits(store: Any) -> None:
    add(store, "a", "b")
    with store.transaction() as tx:
        tx.set_limit("disk", concurrency=1)
        assert len(tx.claim_available_tasks("w", 5, 60)) == 1
        assert tx.claim_available_tasks("w", 5, 60) == []
    assert found(store) == []
    with contextlib.suppress(ZeroDivisionError), store.transaction() as tx:
        tx.remove_limit("disk")
        assert len(tx.claim_available_tasks("w", 5, 60)) == 1
        raise ZeroDivisionError
    assert found(store) == []
    assert len(store.list_limits()) == 1


def test_a_full_partition_is_explained(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b", limit="disk:sda")
    (held,) = claim(store, 1)
    assert "its limit 'disk:sda' permits no further claim now" in store.explain_task("i", "b")
    store.complete_task(held)
    assert "limit" not in store.explain_task("i", "b")


def test_tasks_beyond_their_limit_have_no_age(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b")
    clock.advance(5)
    assert store.stats().oldest_ready_age == 5
    (held,) = claim(store, 1)
    clock.advance(5)
    assert store.stats().oldest_ready_age is None
    assert store.stats().counts["ready"] == 1
    store.complete_task(held)
    assert store.stats().oldest_ready_age == 10
    add(store, "c", limit=None)
    claim(store, 1)
    clock.advance(5)
    assert store.stats().oldest_ready_age == 5


def test_tasks_that_a_new_rule_forbids_have_no_age(store: Any, clock: ManualClock) -> None:
    add(store, "a", "b", "c")
    claim(store, 2)
    clock.advance(5)
    store.set_limit("disk", concurrency=2)
    assert store.stats().oldest_ready_age is None
    store.set_limit("disk", concurrency=3)
    assert store.stats().oldest_ready_age == 5


def test_nothing_waits_for_a_task_beyond_its_limit(store: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b")
    (held,) = claim(store)
    assert store.wait_for_tasks(0) is False
    store.complete_task(held)
    assert store.wait_for_tasks(0) is True


def test_a_read_only_store_finds_tasks_whose_slots_became_free(store: Any, bench: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=1)
    store.set_limit("api", rate=(1, 10))
    add(store, "a", "b")
    add(store, "c", "d", limit="api")
    assert len(claim(store, 10, 10)) == 2
    assert found(store) == []
    clock.advance(10)
    if bench.implementation not in ("memory", "async"):
        with SqliteClaimStore(store.path, read_only=True, clock=clock) as reader:
            assert sorted(found(reader)) == ["b", "d"]
            assert reader.stats().oldest_ready_age == 10
    assert sorted(found(store)) == ["b", "d"]


def test_limits_are_kept_when_the_store_is_opened_again(store: Any, bench: Any) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b")
    claim(store)
    store = bench.reopen()
    assert found(store) == []


def test_a_sleep_of_the_machine_does_not_free_a_slot(store: Any, clock: ManualClock) -> None:
    store.set_limit("disk", concurrency=1)
    add(store, "a", "b")
    claim(store, 1, 10)
    clock.sleep(60)
    assert found(store) == []
    clock.advance(10)
    assert found(store) == ["b"]
