"""``release_task_claim`` and ``extend_task_claim``, which identify a claim by the worker's name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sqlite_claims import ClaimLostError, InvalidArgumentError, NewTask, NotFoundError, TaskState
from sqlite_claims.testing import ManualClock

Offered = Callable[..., list[str]]


def test_releasing_gives_the_task_back_at_once_as_if_it_had_not_been_claimed(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("t")])
    before = store.get_task("i", "t")
    clock.advance(10)
    store.claim_task("i", "t", "w", 30)
    store.release_task_claim("i", "t", "w")
    assert store.get_task("i", "t") == before
    assert offered() == ["t"]


def test_a_released_task_is_in_its_old_place(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a")])
    clock.advance(1)
    store.add_tasks("i", [NewTask("b")])
    store.claim_task("i", "a", "w", 30)
    clock.advance(1)
    store.release_task_claim("i", "a", "w")
    assert offered() == ["a", "b"]


def test_releasing_takes_back_the_attempt_alone(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "v", 10)
    clock.advance(10)
    claim = store.claim_task("i", "t", "w", 10)
    store.release_task_claim("i", "t", "w")
    task = store.get_task("i", "t")
    assert (task.attempts, task.losses, task.failures) == (1, 1, 0)
    assert task.worker_id is None
    assert task.started_at is not None
    assert store.find_available_tasks("w", 1)[0].attempt == 2
    assert claim.token < store.claim_task("i", "t", "w", 10).token


def test_an_expired_claim_that_nobody_took_over_can_be_released(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "w", 10)
    clock.advance(11)
    assert offered() == ["t"]
    store.release_task_claim("i", "t", "w")
    task = store.get_task("i", "t")
    assert (task.state, task.attempts, task.losses) == (TaskState.READY, 0, 0)


def test_after_an_expired_claim_was_taken_over_the_place_is_its_expiry(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("lost")])
    clock.advance(5)
    store.add_tasks("i", [NewTask("between")])
    store.claim_task("i", "lost", "w", 5)
    clock.advance(6)
    store.add_tasks("i", [NewTask("after")])
    store.claim_task("i", "lost", "v", 5)
    store.release_task_claim("i", "lost", "v")
    assert offered() == ["between", "lost", "after"]


@pytest.mark.parametrize("ended", [False, True])
def test_releasing_where_there_is_no_claim_is_not_found(store: Any, ended: bool) -> None:
    store.add_instance("i", [NewTask("t")])
    if ended:
        store.complete_task(store.claim_task("i", "t", "w", 30))
    with pytest.raises(NotFoundError):
        store.release_task_claim("i", "t", "w")


def test_releasing_what_is_not_there_is_not_found(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    with pytest.raises(NotFoundError):
        store.release_task_claim("i", "nothing", "w")
    with pytest.raises(NotFoundError):
        store.release_task_claim("nowhere", "t", "w")


@pytest.mark.parametrize("expired", [False, True])
def test_releasing_somebody_elses_claim_is_lost_also_where_it_has_expired(
    store: Any, clock: ManualClock, expired: bool
) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "owner", 10)
    if expired:
        clock.advance(20)
    before = store.get_task("i", "t")
    with pytest.raises(ClaimLostError):
        store.release_task_claim("i", "t", "other")
    assert store.get_task("i", "t") == before


def test_extending_adds_to_the_expiry(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    clock.advance(10)
    store.extend_task_claim("i", "t", "w", 5)
    store.extend_task_claim("i", "t", "w", timedelta(seconds=5))
    extended = store.get_task("i", "t").claim
    assert extended.expires_at == claim.expires_at + 10
    assert extended.remaining() == 30
    assert (extended.token, extended.claimed_at) == (claim.token, claim.claimed_at)
    clock.advance(29)
    assert store.claim_task("i", "t", "v", 1) is None
    clock.advance(1)
    assert store.claim_task("i", "t", "v", 1) is not None


def test_extending_by_nothing_changes_nothing(store: Any, seen: Callable[[], Any]) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "w", 30)
    before = seen()
    store.extend_task_claim("i", "t", "w", 0)
    assert seen() == before


def test_a_claim_without_an_end_is_not_extended(store: Any, seen: Callable[[], Any]) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "w", None)
    before = seen()
    store.extend_task_claim("i", "t", "w", 60)
    assert seen() == before


@pytest.mark.parametrize(("by", "live"), [(5, False), (15, True)])
def test_an_expired_claim_that_nobody_took_over_is_extended_from_its_old_expiry(
    store: Any, clock: ManualClock, offered: Offered, by: int, live: bool
) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 10)
    clock.advance(20)
    assert offered() == ["t"]
    store.extend_task_claim("i", "t", "w", by)
    assert store.get_task("i", "t").claim.expires_at == claim.expires_at + by
    assert (offered() == []) is live


def test_extending_where_there_is_no_claim_is_not_found(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    with pytest.raises(NotFoundError):
        store.extend_task_claim("i", "t", "w", 5)
    with pytest.raises(NotFoundError):
        store.extend_task_claim("i", "nothing", "w", 5)
    with pytest.raises(NotFoundError):
        store.extend_task_claim("nowhere", "t", "w", 5)


@pytest.mark.parametrize("expired", [False, True])
def test_extending_somebody_elses_claim_is_lost(store: Any, clock: ManualClock, expired: bool) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "owner", 10)
    if expired:
        clock.advance(20)
    before = store.get_task("i", "t")
    with pytest.raises(ClaimLostError):
        store.extend_task_claim("i", "t", "other", 5)
    assert store.get_task("i", "t") == before


def test_after_a_take_over_the_former_owner_can_neither_release_nor_extend(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "old", 10)
    clock.advance(10)
    claim = store.claim_task("i", "t", "new", 10)
    with pytest.raises(ClaimLostError):
        store.release_task_claim("i", "t", "old")
    with pytest.raises(ClaimLostError):
        store.extend_task_claim("i", "t", "old", 5)
    assert store.get_task("i", "t").claim == claim


def test_an_extension_past_what_a_timestamp_holds_is_refused(store: Any, seen: Callable[[], Any]) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "w", timedelta(days=2_000_000))
    before = seen()
    with pytest.raises(InvalidArgumentError, match="additional_duration"):
        store.extend_task_claim("i", "t", "w", timedelta(days=2_000_000))
    assert seen() == before


def test_a_paused_instances_holders_may_release_and_extend_by_name(store: Any) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b")])
    claim = store.claim_task("i", "a", "w", 10)
    store.claim_task("i", "b", "w", 10)
    store.pause_instance("i")
    store.extend_task_claim("i", "a", "w", 10)
    store.release_task_claim("i", "b", "w")
    assert store.get_task("i", "a").claim.expires_at == claim.expires_at + 10
    assert store.get_task("i", "b").state is TaskState.READY


def test_a_cancelled_instance_has_no_claims_to_release(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "w", 10)
    store.cancel_instance("i")
    with pytest.raises(NotFoundError):
        store.release_task_claim("i", "t", "w")
    with pytest.raises(NotFoundError):
        store.extend_task_claim("i", "t", "w", 1)
