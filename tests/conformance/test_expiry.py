"""A task that no worker has claimed by its ``expires_at`` is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sqlite_claims import InstanceState, InvalidStateError, NewTask, TaskState
from sqlite_claims.testing import ManualClock

Later = Callable[[float], datetime]


@pytest.fixture
def later(clock: ManualClock) -> Later:
    """Return a function that returns the wall-clock time in some seconds."""
    return lambda seconds: datetime.fromtimestamp(clock.wall_us() / 1e6, UTC) + timedelta(seconds=seconds)


def states(store: Any, instance_id: str = "i") -> dict[str, str]:
    return {info.task_id: str(info.state) for info in store.list_tasks(instance_id)}


def in_transaction(store: Any) -> Any:
    with store.transaction() as tx:
        return tx.claim_available_tasks("w", 10, 30)


LOOKS: dict[str, Callable[[Any], Any]] = {
    "find": lambda store: store.find_available_tasks("w", 10),
    "claim": lambda store: store.claim_available_tasks("w", 10, 30),
    "wait": lambda store: store.wait_for_tasks(0) or [],
    "claim in a transaction": in_transaction,
}


@pytest.mark.parametrize("look", LOOKS)
def test_an_expired_task_is_cancelled_by_each_call_that_looks_for_work(
    store: Any, clock: ManualClock, later: Later, look: str
) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(10)), NewTask("after", depends_on=["t"])])
    clock.advance(9)
    assert [task.task_id for task in store.find_available_tasks("w", 10)] == ["t"]
    clock.advance(1)
    assert states(store) == {"after": "blocked", "t": "ready"}
    assert LOOKS[look](store) == []
    task, after = store.get_task("i", "t"), store.get_task("i", "after")
    assert (task.state, task.error, task.attempts) == (TaskState.CANCELLED, "expired", 0)
    assert (after.state, after.error) == (TaskState.CANCELLED, None)
    assert task.finished_at == after.finished_at == later(0)
    assert store.check() == []


def test_an_expiry_goes_by_the_wall_clock(store: Any, clock: ManualClock, later: Later) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(3600))])
    clock.step_wall(3600)
    assert store.find_available_tasks("w", 1) == []


def test_a_task_that_was_claimed_once_does_not_expire(store: Any, clock: ManualClock, later: Later) -> None:
    tasks = [NewTask(name, expires_at=later(10)) for name in ("released", "failed", "lost", "held", "by name")]
    store.add_instance("i", [*tasks, NewTask("never", expires_at=later(10), delay=1)])
    claims = {one.task.task_id: one.claim for one in store.claim_available_tasks("w", 4, 1)}
    store.release_task(claims["released"])
    store.fail_task(claims["failed"], "broke", retry_in=0)
    store.renew_task_claim(claims["held"], 60)
    store.release_task_claim("i", "by name", store.claim_task("i", "by name", "w", 60).worker_id)
    clock.advance(10)
    found = {task.task_id for task in store.find_available_tasks("w", 10)}
    assert found == {"released", "failed", "lost", "by name"}
    assert states(store)["never"] == "cancelled"
    store.complete_task(claims["held"])
    assert store.check() == []


def test_a_blocked_and_a_scheduled_task_expire(store: Any, clock: ManualClock, later: Later) -> None:
    store.add_instance(
        "i",
        [
            NewTask("first"),
            NewTask("blocked", depends_on=["first"], expires_at=later(10)),
            NewTask("delayed", delay=60, expires_at=later(10)),
            NewTask("day", available_at=later(60), expires_at=later(10)),
            NewTask("past", available_at=later(5), expires_at=later(10)),
        ],
    )
    clock.advance(10)
    assert [task.task_id for task in store.find_available_tasks("w", 10)] == ["first"]
    assert states(store) == dict.fromkeys(["blocked", "day", "delayed", "past"], "cancelled") | {"first": "ready"}
    store.complete_task(store.claim_task("i", "first", "w", 60))
    assert store.get_instance("i").state is InstanceState.COMPLETED


def test_a_task_of_a_paused_instance_expires(store: Any, clock: ManualClock, later: Later) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(10)), NewTask("u")])
    store.pause_instance("i")
    clock.advance(10)
    assert store.find_available_tasks("w", 10) == []
    assert states(store) == {"t": "cancelled", "u": "ready"}
    assert store.get_instance("i").state is InstanceState.PAUSED


def test_an_expiry_in_the_past_is_allowed(store: Any, later: Later) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(-10))])
    assert states(store) == {"t": "ready"}
    assert store.claim_available_tasks("w", 10, 30) == []
    assert states(store) == {"t": "cancelled"}


def test_a_claim_by_name_cancels_an_expired_task(store: Any, clock: ManualClock, later: Later) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(10))])
    clock.advance(10)
    assert store.claim_task("i", "t", "w", 60) is None
    assert states(store) == {"t": "cancelled"}


def test_a_new_task_cannot_depend_on_an_expired_one(store: Any, clock: ManualClock, later: Later) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(10)), NewTask("u")])
    clock.advance(10)
    with pytest.raises(InvalidStateError):
        store.add_tasks("i", [NewTask("v", depends_on=["t"])])


def test_waiting_for_a_task_or_an_instance_sees_the_expiry(store: Any, clock: ManualClock, later: Later) -> None:
    for name in "abc":
        tasks = [NewTask("t", expires_at=later(10)), NewTask("after", depends_on=["t"])]
        store.add_instance(name, tasks)
        clock.advance(10)
        if name == "a":
            assert store.wait_for_task("a", "after", 0).state is TaskState.CANCELLED
        elif name == "b":
            ended = store.wait_for_any([("b", "after"), ("b", "t")], 0)
            assert [info.state for info in ended] == [TaskState.CANCELLED] * 2
        else:
            assert store.wait_for_instance("c", 0).state is InstanceState.CANCELLED


def test_an_instance_whose_tasks_all_expired_is_cancelled_and_not_sealed(
    store: Any, clock: ManualClock, later: Later
) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(10)), NewTask("after", depends_on=["t"])])
    clock.advance(10)
    assert store.find_available_tasks("w", 1) == []
    info = store.get_instance("i")
    assert (info.state, info.sealed, info.reason, info.finished_at) == (InstanceState.CANCELLED, False, None, later(0))
    assert [info.instance_id for info in store.list_instances(states=["cancelled"])] == ["i"]
    for refused in (store.pause_instance, store.resume_instance):
        with pytest.raises(InvalidStateError):
            refused("i")
    assert store.add_tasks("i", [NewTask("more")]) == 1
    assert store.get_instance("i").state is InstanceState.IN_PROGRESS
    store.complete_task(store.claim_task("i", "more", "w", 60))
    assert store.get_instance("i").state is InstanceState.COMPLETED
    assert store.check() == []


def test_cancel_instance_seals_an_instance_whose_tasks_all_expired(
    store: Any, clock: ManualClock, later: Later
) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(10))])
    clock.advance(10)
    assert store.find_available_tasks("w", 1) == []
    ended = store.get_instance("i").finished_at
    clock.advance(10)
    store.cancel_instance("i", "why not")
    info = store.get_instance("i")
    assert (info.state, info.sealed, info.reason, info.finished_at) == (
        InstanceState.CANCELLED,
        True,
        "why not",
        ended,
    )
    with pytest.raises(InvalidStateError):
        store.add_tasks("i", [NewTask("more")])
    store.cancel_instance("i", "again")
    assert store.get_instance("i").reason == "why not"
    assert store.check() == []


@pytest.mark.parametrize(("ends", "state"), [(["complete"], "completed"), (["fail"], "failed")])
def test_an_instance_with_expired_tasks_ends_as_its_other_tasks_did(
    store: Any, clock: ManualClock, later: Later, ends: list[str], state: str
) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(10)), NewTask("u")])
    claim = store.claim_task("i", "u", "w", 60)
    if ends == ["fail"]:
        store.fail_task(claim, "broke", retry=False)
    else:
        store.complete_task(claim)
    clock.advance(10)
    assert store.find_available_tasks("w", 1) == []
    info = store.get_instance("i")
    assert (str(info.state), info.sealed) == (state, False)


def test_cancelling_an_instance_with_an_expired_task_leaves_no_error(
    store: Any, clock: ManualClock, later: Later
) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(10))])
    clock.advance(10)
    store.cancel_instance("i")
    assert store.find_available_tasks("w", 1) == []
    assert (store.get_task("i", "t").state, store.get_task("i", "t").error) == (TaskState.CANCELLED, None)
    assert store.get_instance("i").sealed is True
    assert store.check() == []


def test_a_retry_brings_back_no_dependent_that_expired(store: Any, clock: ManualClock, later: Later) -> None:
    store.add_instance(
        "i",
        [
            NewTask("t"),
            NewTask("expired", depends_on=["t"], expires_at=later(10)),
            NewTask("behind", depends_on=["expired"]),
            NewTask("cancelled", depends_on=["t"], expires_at=later(20)),
        ],
    )
    clock.advance(10)
    claim = store.claim_available_tasks("w", 10, 60)[0].claim
    store.fail_task(claim, "broke", retry=False)
    clock.advance(10)
    assert store.find_available_tasks("w", 10) == []
    store.retry_task("i", "t")
    assert states(store) == {"t": "ready", "expired": "cancelled", "behind": "cancelled", "cancelled": "blocked"}
    assert [task.task_id for task in store.find_available_tasks("w", 10)] == ["t"]
    assert (states(store)["cancelled"], store.get_task("i", "cancelled").error) == ("cancelled", "expired")
    assert store.check() == []


def test_the_explanation_of_an_expired_task_names_the_cause(store: Any, clock: ManualClock, later: Later) -> None:
    store.add_instance("i", [NewTask("t", expires_at=later(10)), NewTask("after", depends_on=["t"])])
    clock.advance(10)
    assert store.find_available_tasks("w", 1) == []
    assert "because no worker had claimed it before it expired at " in store.explain_task("i", "t")
    assert "because it depends on 't', which failed, expired or was cancelled" in store.explain_task("i", "after")


def test_many_expired_tasks_hide_no_other_task(store: Any, clock: ManualClock, later: Later) -> None:
    store.add_instance("i", [NewTask(f"t{n}", priority=1, expires_at=later(10)) for n in range(700)])
    store.add_tasks("i", [NewTask(f"u{n}") for n in range(3)])
    clock.advance(10)
    found = [task.task_id for task in store.find_available_tasks("w", 2)]
    claimed = [one.task.task_id for one in store.claim_available_tasks("w", 5, 60)]
    assert (found, claimed) == (["u0", "u1"], ["u0", "u1", "u2"])
    while store.get_instance("i").counts[TaskState.CANCELLED] < 700:
        assert store.claim_available_tasks("w", 5, 60) == []
    assert store.check() == []


def test_an_expired_task_keeps_its_error_if_a_dependency_fails_in_the_same_search(
    store: Any, clock: ManualClock, later: Later
) -> None:
    store.add_instance("i", [NewTask("t", max_lost=1), NewTask("u", depends_on=["t"], expires_at=later(10))])
    store.claim_task("i", "t", "w", 10)
    clock.advance(10)
    assert store.find_available_tasks("w", 1) == []
    assert (states(store), store.get_task("i", "u").error) == ({"t": "failed", "u": "cancelled"}, "expired")


def test_a_claim_by_name_cancels_an_expired_blocked_task(store: Any, clock: ManualClock, later: Later) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u", depends_on=["t"], expires_at=later(10))])
    clock.advance(10)
    assert store.claim_task("i", "u", "w", 60) is None
    assert (states(store), store.get_task("i", "u").error) == ({"t": "ready", "u": "cancelled"}, "expired")
