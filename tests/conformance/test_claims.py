"""Each case of ``claim_task``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sqlite_claims import NewTask, NotFoundError, TaskState
from sqlite_claims.testing import ManualClock

Offered = Callable[..., list[str]]


def test_a_ready_task_is_claimed_and_the_claim_says_all(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    now = clock.wall_us() / 1e6
    assert (claim.instance_id, claim.task_id, claim.worker_id) == ("i", "t", "w")
    assert claim.claimed_at == now
    assert claim.expires_at == now + 30
    assert claim.token > 0
    assert claim.remaining() == 30.0
    assert not claim.is_expired()
    assert claim.is_owned_by("w")
    assert not claim.is_owned_by("v")


def test_a_claimed_task_shows_its_claim(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    clock.advance(5)
    claim = store.claim_task("i", "t", "w", 30)
    task = store.get_task("i", "t")
    assert task.state is TaskState.CLAIMED
    assert task.claim == claim
    assert task.claim.remaining() == 30.0
    assert (task.worker_id, task.attempts) == ("w", 1)
    assert task.started_at.timestamp() == claim.claimed_at
    assert task.finished_at is None


@pytest.mark.parametrize("worker_id", ["other", "holder"])
def test_a_live_claim_is_claimed_by_nobody_not_even_its_holder(store: Any, worker_id: str) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "holder", 30)
    assert store.claim_task("i", "t", worker_id, 30) is None
    assert store.get_task("i", "t").claim == claim


def test_a_claim_lives_until_just_before_its_expiry_and_is_taken_over_from_then_on(
    store: Any, clock: ManualClock
) -> None:
    store.add_instance("i", [NewTask("t")])
    first = store.claim_task("i", "t", "old", 30)
    clock.advance(29.999999)
    assert store.claim_task("i", "t", "new", 30) is None
    clock.advance(0.000001)
    second = store.claim_task("i", "t", "new", 30)
    assert second.worker_id == "new"
    assert second.token > first.token
    task = store.get_task("i", "t")
    assert task.claim == second
    assert (task.attempts, task.losses) == (2, 1)


def test_the_holder_itself_may_take_over_its_expired_claim(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    first = store.claim_task("i", "t", "w", 1)
    clock.advance(1)
    assert store.claim_task("i", "t", "w", 1).token > first.token


def test_claiming_what_is_not_there_is_not_found(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    with pytest.raises(NotFoundError):
        store.claim_task("i", "nothing", "w", 30)
    with pytest.raises(NotFoundError):
        store.claim_task("nowhere", "t", "w", 30)


def _blocked(store: Any) -> None:
    store.add_instance("i", [NewTask("first"), NewTask("t", depends_on=["first"])])


def _delayed(store: Any) -> None:
    store.add_instance("i", [NewTask("t", delay=60)])


def _in_back_off(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.fail_task(store.claim_task("i", "t", "w", 30), "no", retry_in=60)


def _snoozed(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.release_task(store.claim_task("i", "t", "w", 30), delay=60)


def _completed(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.complete_task(store.claim_task("i", "t", "w", 30))


def _failed(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.fail_task(store.claim_task("i", "t", "w", 30), "no", retry=False)


def _cancelled_with_its_dependency(store: Any) -> None:
    store.add_instance("i", [NewTask("first"), NewTask("t", depends_on=["first"])])
    store.fail_task(store.claim_task("i", "first", "w", 30), "no", retry=False)


def _of_a_paused_instance(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.pause_instance("i")


def _of_a_cancelled_instance(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.cancel_instance("i")


@pytest.mark.parametrize(
    "make",
    [
        _blocked,
        _delayed,
        _in_back_off,
        _snoozed,
        _completed,
        _failed,
        _cancelled_with_its_dependency,
        _of_a_paused_instance,
        _of_a_cancelled_instance,
    ],
)
def test_a_task_that_cannot_run_now_is_neither_claimed_nor_offered(
    store: Any, offered: Offered, make: Callable[[Any], None]
) -> None:
    make(store)
    before = store.get_task("i", "t")
    assert store.claim_task("i", "t", "w", 30) is None
    assert "t" not in offered()
    assert "t" not in [claimed.task.task_id for claimed in store.claim_available_tasks("w", 10, 30)]
    assert store.get_task("i", "t") == before


def test_a_claim_without_an_end_never_expires(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", None)
    assert claim.expires_at is None
    assert claim.remaining() is None
    clock.advance(timedelta(days=36_500))
    assert not claim.is_expired()
    assert offered() == []
    assert store.claim_task("i", "t", "v", 30) is None
    store.complete_task(claim)


def test_a_claim_of_no_length_is_expired_at_birth_and_still_its_owners(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 0)
    assert claim.expires_at == claim.claimed_at
    assert claim.is_expired()
    assert claim.remaining() == 0
    assert offered() == ["t"]
    assert store.get_task("i", "t").state is TaskState.CLAIMED
    store.complete_task(claim)


def test_half_a_second_is_half_a_second(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 0.5)
    assert claim.expires_at == claim.claimed_at + 0.5
    clock.advance(0.499999)
    assert offered() == []
    clock.advance(0.000001)
    assert offered() == ["t"]


@pytest.mark.parametrize("ttl", [90, 90.0, timedelta(minutes=1, seconds=30)])
def test_a_duration_is_a_timedelta_or_seconds(store: Any, ttl: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", ttl)
    assert claim.expires_at - claim.claimed_at == 90
    assert store.renew_task_claim(claim, ttl).expires_at == claim.expires_at


def test_two_tasks_of_one_instance_are_claimed_independently(store: Any) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b")])
    a, b = store.claim_task("i", "a", "w", 30), store.claim_task("i", "b", "v", 30)
    store.release_task_claim("i", "a", "w")
    store.complete_task(b)
    assert store.get_task("i", "a").state is TaskState.READY
    assert store.get_task("i", "b").state is TaskState.COMPLETED
    assert a.task_id == "a"


def test_the_same_task_name_in_two_instances_is_two_tasks(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.add_instance("j", [NewTask("t")])
    assert store.claim_task("i", "t", "w", 30) is not None
    assert store.claim_task("j", "t", "w", 30) is not None


def test_tokens_of_a_task_only_grow(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    tokens = [store.claim_task("i", "t", "w", 30).token]
    store.release_task_claim("i", "t", "w")
    tokens.append(store.claim_task("i", "t", "w", 30).token)
    clock.advance(30)
    claim = store.claim_task("i", "t", "w", 30)
    tokens.append(claim.token)
    store.fail_task(claim, "no", retry=False)
    store.retry_task("i", "t")
    tokens.append(store.claim_available_tasks("w")[0].claim.token)
    assert tokens == sorted(set(tokens))


def test_a_claim_judges_by_the_lease_clock_and_not_by_the_wall(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    clock.step_wall(3600)
    assert claim.remaining() == 30.0
    assert not claim.is_expired()
    clock.step_wall(-7200)
    clock.advance(30)
    assert claim.remaining() == 0
    assert claim.is_expired()


def test_finding_claims_nothing(store: Any, offered: Offered, seen: Callable[[], Any]) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b")])
    before = seen()
    assert offered() == ["a", "b"]
    assert offered() == ["a", "b"]
    assert seen() == before


def test_claiming_what_is_available_gives_the_tasks_and_their_claims(store: Any) -> None:
    store.add_instance(
        "i", [NewTask("a", b"in", kind="k", priority=2, tags=["y", "x"]), NewTask("b")], definition_hash="h/1"
    )
    first, second = store.claim_available_tasks("w", 5, 30)
    task = first.task
    assert (task.instance_id, task.task_id, task.input, task.workflow_definition_hash) == ("i", "a", b"in", "h/1")
    assert (task.kind, task.priority, task.tags, task.attempt) == ("k", 2, ("x", "y"), 1)
    assert (second.task.kind, second.task.priority, second.task.tags) == ("", 3, ())
    assert second.task.input == b""
    for claimed in (first, second):
        assert claimed.claim.worker_id == "w"
        assert claimed.claim.remaining() == 30
        assert store.get_task("i", claimed.task.task_id).claim == claimed.claim
    assert store.claim_available_tasks("w", 5, 30) == []


def test_claiming_what_is_available_takes_one_task_for_half_a_minute_where_nothing_is_said(store: Any) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b")])
    (claimed,) = store.claim_available_tasks("w")
    assert claimed.task.task_id == "a"
    assert claimed.claim.remaining() == 30


def test_claiming_what_is_available_may_have_no_end(store: Any) -> None:
    store.add_instance("i", [NewTask("a")])
    (claimed,) = store.claim_available_tasks("w", 1, None)
    assert claimed.claim.expires_at is None


def test_claiming_what_is_available_takes_expired_claims_over(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("a")])
    lost = store.claim_task("i", "a", "w", 10)
    clock.advance(10)
    (found,) = store.find_available_tasks("v", 5)
    assert found.attempt == 2
    (claimed,) = store.claim_available_tasks("v", 5)
    assert claimed.task.attempt == 2
    assert claimed.claim.token > lost.token
    assert store.get_task("i", "a").losses == 1


@pytest.mark.parametrize("limit", [2**31 - 1, 2**31, 2**63, 2**70])
def test_a_limit_may_be_huge(store: Any, offered: Offered, limit: int) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b")])
    assert offered("w", limit) == ["a", "b"]
    assert len(store.claim_available_tasks("w", limit)) == 2


def test_a_limit_of_none_at_all_gives_nothing(store: Any) -> None:
    store.add_instance("i", [NewTask("a")])
    assert store.find_available_tasks("w", 0) == []
    assert store.claim_available_tasks("w", 0) == []
    assert store.get_task("i", "a").state is TaskState.READY


def test_an_empty_store_offers_nothing(store: Any) -> None:
    assert store.find_available_tasks("w", 10) == []
    assert store.claim_available_tasks("w", 10) == []
