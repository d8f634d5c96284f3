"""Failed attempts and lost claims: their counts and their limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sqlite_claims import (
    ClaimLostError,
    InstanceState,
    InvalidStateError,
    NewTask,
    RetryPolicy,
    TaskState,
)
from sqlite_claims.testing import ManualClock

Offered = Callable[..., list[str]]
STEADY = RetryPolicy(initial_delay=10, multiplier=3, max_delay=50, jitter=0)


def add(store: Any, **task: Any) -> None:
    store.add_instance("i", [NewTask("t", **task)])


def claim(store: Any, worker_id: str = "w", ttl: float | None = 5) -> Any:
    return store.claim_task("i", "t", worker_id, ttl)


# -- failures


def test_a_failed_attempt_is_tried_again_after_the_policys_delay(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    add(store, retry=STEADY, max_attempts=10)
    for failures, delay in enumerate([10, 30, 50, 50], start=1):
        store.fail_task(claim(store), f"error {failures}")
        task = store.get_task("i", "t")
        assert (task.state, task.failures, task.attempts) == (TaskState.SCHEDULED, failures, failures)
        assert (task.error, task.worker_id, task.claim) == (f"error {failures}", "w", None)
        clock.advance(delay - 0.000001)
        assert offered() == []
        clock.advance(0.000001)
        assert offered() == ["t"]
        assert store.get_task("i", "t").state is TaskState.READY


def test_a_failed_attempts_delay_is_spread_by_the_share_of_its_jitter(store: Any, clock: ManualClock) -> None:
    retry = RetryPolicy(initial_delay=100, jitter=0.2)
    store.add_instance("i", [NewTask(f"t{n}", retry=retry) for n in range(200)])
    store.fail_tasks([(claimed.claim, "no") for claimed in store.claim_available_tasks("w", 200)])
    clock.advance(79.9)
    assert store.find_available_tasks("w", 200) == []
    clock.advance(20.1)
    assert 20 < len(store.find_available_tasks("w", 200)) < 180
    clock.advance(20.1)
    assert len(store.find_available_tasks("w", 200)) == 200


def test_a_delay_of_nothing_is_ready_at_once_with_the_place_of_now(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    add(store, retry=RetryPolicy(initial_delay=0))
    clock.advance(1)
    store.add_tasks("i", [NewTask("later")])
    failing = claim(store)
    clock.advance(1)
    store.fail_task(failing, "no")
    assert store.get_task("i", "t").state is TaskState.READY
    assert offered() == ["later", "t"]


@pytest.mark.parametrize("retry_in", [7, 7.0, timedelta(seconds=7)])
def test_the_caller_may_say_when_to_try_again(store: Any, clock: ManualClock, offered: Offered, retry_in: Any) -> None:
    add(store, retry=RetryPolicy(initial_delay=1000, jitter=1))
    store.fail_task(claim(store), "no", retry_in=retry_in)
    clock.advance(6.999999)
    assert offered() == []
    clock.advance(0.000001)
    assert offered() == ["t"]


@pytest.mark.parametrize("more", [{}, {"retry_in": 5}])
def test_the_last_failure_that_max_attempts_allows_fails_the_task(
    store: Any, clock: ManualClock, more: dict[str, Any]
) -> None:
    add(store, max_attempts=2)
    store.fail_task(claim(store), "first", retry_in=0)
    clock.advance(3)
    store.fail_task(claim(store), "second", **more)
    task = store.get_task("i", "t")
    assert (task.state, task.failures, task.attempts, task.error) == (TaskState.FAILED, 2, 2, "second")
    assert (task.worker_id, task.claim, task.output) == ("w", None, None)
    assert task.finished_at - task.added_at == timedelta(seconds=3)
    assert store.get_instance("i").state is InstanceState.FAILED


def test_losses_and_releases_do_not_count_against_max_attempts(store: Any, clock: ManualClock) -> None:
    add(store, max_attempts=2)
    for _ in range(3):
        claim(store)
        clock.advance(5)
    store.release_task(claim(store))
    store.fail_task(claim(store), "first", retry_in=0)
    assert store.get_task("i", "t").state is TaskState.READY
    store.fail_task(claim(store), "second")
    task = store.get_task("i", "t")
    assert (task.state, task.failures, task.losses, task.attempts) == (TaskState.FAILED, 2, 3, 5)


def test_failing_for_good_needs_no_bound(store: Any) -> None:
    add(store, max_attempts=100)
    store.fail_task(claim(store), "hopeless", retry=False, retry_in=1)
    task = store.get_task("i", "t")
    assert (task.state, task.failures, task.error) == (TaskState.FAILED, 1, "hopeless")


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ("", ""),
        ("größer", "größer"),
        ("a\0b", "a\0b"),
        ("bad \udcff byte", "bad \\udcff byte"),
        ("x" * 10**6, "x" * 10**6),
    ],
    ids=["empty", "utf-8", "NUL", "surrogate", "long"],
)
def test_an_error_is_any_text_and_what_is_not_utf_8_is_escaped(store: Any, error: str, kept: str) -> None:
    add(store)
    store.fail_task(claim(store), error)
    assert store.get_task("i", "t").error == kept


def test_the_error_stays_through_retries_and_goes_with_the_completion(store: Any) -> None:
    add(store)
    store.fail_task(claim(store), "no", retry_in=0)
    again = claim(store)
    assert store.get_task("i", "t").error == "no"
    store.release_task(again)
    assert store.get_task("i", "t").error == "no"
    store.complete_task(claim(store))
    task = store.get_task("i", "t")
    assert (task.error, task.failures) == (None, 1)


# -- losses


def test_each_take_over_after_the_expiry_is_a_loss_and_an_attempt(store: Any, clock: ManualClock) -> None:
    add(store, max_lost=10)
    for losses in range(4):
        claim(store, f"w{losses}")
        task = store.get_task("i", "t")
        assert (task.losses, task.attempts, task.worker_id) == (losses, losses + 1, f"w{losses}")
        assert task.error is None
        clock.advance(5)


def _by_find(store: Any) -> None:
    assert store.find_available_tasks("v", 5) == []


def _by_claiming_what_is_available(store: Any) -> None:
    assert store.claim_available_tasks("v", 5) == []


def _by_name(store: Any) -> None:
    assert store.claim_task("i", "t", "v", 5) is None


look_in_any_way = pytest.mark.parametrize("look", [_by_find, _by_claiming_what_is_available, _by_name])


@look_in_any_way
@pytest.mark.parametrize("max_lost", [1, 2, 3])
def test_the_last_loss_that_max_lost_allows_fails_the_task_for_whoever_looks(
    store: Any, clock: ManualClock, look: Callable[[Any], None], max_lost: int
) -> None:
    add(store, max_lost=max_lost)
    for _ in range(max_lost):
        assert claim(store) is not None
        clock.advance(5)
    assert store.get_task("i", "t").state is TaskState.CLAIMED
    look(store)
    task = store.get_task("i", "t")
    assert (task.state, task.losses, task.attempts, task.failures) == (TaskState.FAILED, max_lost, max_lost, 0)
    assert task.error == f"lost {max_lost} claims; max_lost is {max_lost}"
    assert (task.worker_id, task.claim) == ("w", None)
    assert task.finished_at is not None
    assert store.get_instance("i").state is InstanceState.FAILED


def test_a_task_that_lost_its_last_claim_cancels_its_dependents(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t", max_lost=1), NewTask("u", depends_on=["t"]), NewTask("v")])
    claim(store)
    clock.advance(5)
    assert [task.task_id for task in store.find_available_tasks("w", 5)] == ["v"]
    assert store.get_task("i", "u").state is TaskState.CANCELLED


SETTLE: dict[str, Callable[[Any, Any], Any]] = {
    "complete": lambda store, claim: store.complete_task(claim),
    "fail": lambda store, claim: store.fail_task(claim, "no"),
    "renew": lambda store, claim: store.renew_task_claim(claim, 5),
    "release": lambda store, claim: store.release_task(claim),
    "release by name": lambda store, _: store.release_task_claim("i", "t", "w"),
    "extend": lambda store, _: store.extend_task_claim("i", "t", "w", 60),
}


@pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)
def test_the_last_claims_owner_may_still_use_it_until_somebody_has_looked(
    store: Any, clock: ManualClock, settle: Callable[[Any, Any], Any]
) -> None:
    add(store, max_lost=1)
    last = claim(store)
    clock.advance(50)
    settle(store, last)
    store.find_available_tasks("v", 5)
    task = store.get_task("i", "t")
    assert task.state is not TaskState.FAILED
    assert task.losses == 0


def test_once_somebody_has_looked_the_last_claim_is_lost(store: Any, clock: ManualClock) -> None:
    add(store, max_lost=1)
    last = claim(store)
    clock.advance(5)
    store.find_available_tasks("v", 5)
    with pytest.raises(ClaimLostError):
        store.complete_task(last)


def test_extending_and_renewing_do_not_change_whether_a_claim_is_the_last(store: Any, clock: ManualClock) -> None:
    add(store, max_lost=1)
    last = store.renew_task_claim(claim(store), 5)
    store.extend_task_claim("i", "t", "w", 5)
    clock.advance(10)
    assert store.claim_task("i", "t", "v", 5) is None
    assert store.get_task("i", "t").state is TaskState.FAILED
    with pytest.raises(ClaimLostError):
        store.renew_task_claim(last, 5)


def test_a_last_claim_may_be_renewed_from_no_end_to_an_end(store: Any, clock: ManualClock) -> None:
    add(store, max_lost=1)
    last = claim(store, ttl=None)
    clock.advance(1000)
    store.find_available_tasks("v", 5)
    store.renew_task_claim(last, 5)
    clock.advance(5)
    store.find_available_tasks("v", 5)
    assert store.get_task("i", "t").state is TaskState.FAILED


def test_a_last_claim_that_is_given_back_leaves_one_more(store: Any) -> None:
    add(store, max_lost=1)
    store.release_task(claim(store))
    assert claim(store) is not None


@look_in_any_way
def test_in_a_paused_instance_the_end_of_a_last_claim_waits_for_the_resume(
    store: Any, clock: ManualClock, look: Callable[[Any], None]
) -> None:
    add(store, max_lost=1)
    last = claim(store)
    clock.advance(5)
    store.pause_instance("i")
    look(store)
    assert store.get_task("i", "t").claim == last
    store.resume_instance("i")
    look(store)
    assert store.get_task("i", "t").state is TaskState.FAILED


def test_many_lost_last_claims_hide_nothing(store: Any, clock: ManualClock) -> None:
    store.add_instance("dead", [NewTask(f"t{n}", max_lost=1) for n in range(2500)])
    store.claim_available_tasks("w", 2500, 5)
    store.add_instance("i", [NewTask("t", priority=5)])
    clock.advance(5)
    assert [task.task_id for task in store.find_available_tasks("v", 5)] == ["t"]
    for _ in range(2500):
        if store.get_instance("dead").state is InstanceState.FAILED:
            break
        clock.advance(0.01)  # a single search may leave some expired claims for the next search
        store.find_available_tasks("v", 5)
    assert store.get_instance("dead").counts[TaskState.FAILED] == 2500


# -- retrying tasks and instances


def test_a_failed_task_starts_over_with_nothing_used(store: Any, clock: ManualClock, offered: Offered) -> None:
    add(store, max_attempts=2, max_lost=2)
    claim(store)
    clock.advance(5)
    store.fail_task(claim(store), "no", retry=False)
    clock.advance(5)
    store.add_tasks("i", [NewTask("earlier")])
    clock.advance(5)
    store.retry_task("i", "t")
    task = store.get_task("i", "t")
    assert (task.state, task.attempts, task.failures, task.losses) == (TaskState.READY, 0, 0, 0)
    assert (task.error, task.finished_at, task.output) == (None, None, None)
    assert store.get_instance("i").state is InstanceState.IN_PROGRESS
    assert store.get_instance("i").finished_at is None
    assert offered("w") == ["earlier", "t"]
    assert store.find_available_tasks("w", 5)[1].attempt == 1
    store.fail_task(claim(store), "again", retry_in=0)
    assert store.get_task("i", "t").state is TaskState.READY


def test_a_retried_task_waits_for_no_delay_and_no_calendar(store: Any, clock: ManualClock, offered: Offered) -> None:
    add(store, delay=60)
    clock.advance(60)
    store.fail_task(claim(store), "no", retry=False)
    store.retry_task("i", "t")
    assert offered() == ["t"]


@pytest.mark.parametrize("ended", ["ready", "claimed", "completed", "cancelled"])
def test_only_a_failed_task_can_be_retried(store: Any, seen: Callable[[], Any], ended: str) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u", depends_on=["t"]), NewTask("v")])
    if ended == "claimed":
        claim(store)
    elif ended == "completed":
        store.complete_task(claim(store))
    elif ended == "cancelled":
        store.fail_task(claim(store), "no", retry=False)
    before = seen()
    with pytest.raises(InvalidStateError):
        store.retry_task("i", "u" if ended == "cancelled" else "t")
    assert seen() == before


def test_a_task_of_a_cancelled_instance_cannot_be_retried(store: Any, seen: Callable[[], Any]) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    store.fail_task(claim(store), "no", retry=False)
    store.cancel_instance("i")
    before = seen()
    with pytest.raises(InvalidStateError):
        store.retry_task("i", "t")
    assert seen() == before
