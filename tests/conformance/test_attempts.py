"""The list of attempts that ended without completion, and reads of several tasks at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, NewTask, NotFoundError
from sqlite_claims.testing import ManualClock

SECOND = timedelta(seconds=1)


def add(store: Any, **task: Any) -> None:
    store.add_instance("i", [NewTask("t", **task)])


def outcomes(store: Any) -> list[tuple[int, str, str, str, bytes]]:
    return [
        (info.attempt, info.worker_id, info.outcome, info.error, info.detail) for info in store.list_attempts("i", "t")
    ]


def test_failures_timeouts_and_losses_are_listed_oldest_first(store: Any, clock: ManualClock) -> None:
    add(store, max_attempts=9)
    assert store.list_attempts("i", "t") == []
    store.fail_task(store.claim_task("i", "t", "a", 5), "no luck", retry_in=0, detail=b"trace")
    store.fail_task(store.claim_task("i", "t", "b", 5), "too long", retry_in=0, timed_out=True)
    store.claim_task("i", "t", "c", 5)
    clock.advance(5)
    assert len(outcomes(store)) == 2  # nobody has taken the expired claim over
    store.complete_task(store.claim_task("i", "t", "d", 5))
    assert outcomes(store) == [
        (1, "a", "failed", "no luck", b"trace"),
        (2, "b", "timed out", "too long", b""),
        (3, "c", "lost", "the claim expired", b""),
    ]


def test_an_expired_claim_that_a_search_takes_over_is_listed(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    assert len(store.claim_available_tasks("a", 2, 5)) == 2
    clock.advance(5)
    assert len(store.claim_available_tasks("b", 2, 5)) == 2
    assert outcomes(store) == [(1, "a", "lost", "the claim expired", b"")]


def test_the_loss_of_a_last_claim_is_listed(store: Any, clock: ManualClock) -> None:
    add(store, max_lost=1)
    store.claim_task("i", "t", "a", 5)
    clock.advance(5)
    assert store.claim_available_tasks("b") == []
    assert store.get_task("i", "t").state == "failed"
    assert outcomes(store) == [(1, "a", "lost", "the claim expired", b"")]


def test_the_claim_of_a_worker_that_closed_its_session_is_listed(store: Any) -> None:
    add(store)
    session = store.open_session("a")
    store.claim_task("i", "t", "a", None, session=session)
    session.close()
    store.claim_available_tasks("b")
    assert [entry[1:3] for entry in outcomes(store)] == [("a", "lost")]


def test_an_attempt_shows_when_it_began_and_ended(store: Any, clock: ManualClock) -> None:
    add(store)
    began = clock.wall_us()
    claim = store.claim_task("i", "t", "a", 60)
    clock.advance(3)
    store.fail_task(claim, "no luck")
    (info,) = store.list_attempts("i", "t")
    assert info.started_at.timestamp() * 1e6 == pytest.approx(began, abs=1)
    assert info.ended_at - info.started_at == 3 * SECOND


def test_released_and_cancelled_claims_are_not_listed(store: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    store.release_task(store.claim_task("i", "t", "a", 5))
    store.claim_task("i", "t", "a", 5)
    store.cancel_instance("i")
    assert store.list_attempts("i", "t") == []


def test_the_newest_20_attempts_are_kept_also_when_the_task_is_retried(store: Any) -> None:
    add(store, max_attempts=15)
    for number in range(1, 16):
        store.fail_task(store.claim_task("i", "t", "w", 5), f"error {number}", retry_in=0)
    store.retry_task("i", "t")
    for number in range(16, 24):
        store.fail_task(store.claim_task("i", "t", "w", 5), f"error {number}", retry_in=0)
    assert [info.error for info in store.list_attempts("i", "t")] == [f"error {number}" for number in range(4, 24)]
    assert [info.attempt for info in store.list_attempts("i", "t")] == [*range(4, 16), *range(1, 9)]


def test_several_failures_are_recorded_with_their_options(store: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u"), NewTask("v")])
    claims = [one.claim for one in store.claim_available_tasks("w", 3, 60)]
    done, lost = store.fail_tasks(
        [
            (claims[0], "plain"),
            (claims[1], "late", {"timed_out": True, "detail": b"d", "retry_in": SECOND}),
            [claims[2], "bad", {"retry": False}],
        ]
    )
    assert (len(done), lost) == (3, [])
    assert store.list_attempts("i", "t")[0].outcome == "failed"
    (late,) = store.list_attempts("i", "u")
    assert (late.outcome, late.detail) == ("timed out", b"d")
    assert store.get_task("i", "v").state == "failed"


@pytest.mark.parametrize(
    "failure",
    [
        "x",
        ("claim",),
        ("claim", "error", {}, 1),
        ("claim", "error", "retry"),
        ("claim", "error", {"retries": 1}),
        ("claim", "error", {"retry": 1}),
        ("claim", "error", {"detail": "text"}),
        ("claim", "error", {"detail": b"x" * 65537}),
        ("claim", "error", {"timed_out": None}),
    ],
)
def test_a_wrong_failure_changes_nothing(store: Any, failure: Any) -> None:
    add(store)
    claim = store.claim_task("i", "t", "w", 60)
    if isinstance(failure, tuple):
        failure = tuple(claim if part == "claim" else part for part in failure)
    with pytest.raises(InvalidArgumentError, match=r"failures|error|retry|detail|timed_out"):
        store.fail_tasks([(claim, "first"), failure])
    assert store.get_task("i", "t").state == "claimed"
    assert store.list_attempts("i", "t") == []


def test_a_detail_has_at_most_64_kib(store: Any) -> None:
    add(store)
    claim = store.claim_task("i", "t", "w", 60)
    with pytest.raises(InvalidArgumentError, match="detail is 65,537 bytes long"):
        store.fail_task(claim, "no", detail=b"x" * 65537)
    store.fail_task(claim, "no", detail=memoryview(b"x" * 65536))
    assert len(store.list_attempts("i", "t")[0].detail) == 65536


def test_attempts_are_recorded_in_a_transaction_and_undone_with_it(store: Any) -> None:
    add(store, max_attempts=9)
    with store.transaction() as tx:
        tx.fail_task(tx.claim_task("i", "t", "w", 60), "kept", retry_in=0, detail=b"d")
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:  # noqa: PT012
        tx.fail_task(tx.claim_task("i", "t", "w", 60), "undone", retry_in=0)
        raise ZeroDivisionError
    assert [info.error for info in store.list_attempts("i", "t")] == ["kept"]


def test_attempts_of_an_unknown_task_are_an_error(store: Any) -> None:
    with pytest.raises(NotFoundError, match=r"no task 't'|no instance"):
        store.list_attempts("i", "t")


def test_a_pruned_task_leaves_no_attempts_to_a_later_task(store: Any, clock: ManualClock) -> None:
    add(store)
    store.fail_task(store.claim_task("i", "t", "w", 60), "no", retry=False)
    clock.advance(10)
    assert store.prune(5) == 1
    add(store)
    assert store.list_attempts("i", "t") == []
    assert not hasattr(store, "check") or store.check() == []


# -- reads of several tasks


def test_several_tasks_are_read_in_the_order_asked(store: Any) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b", b"input")])
    store.add_instance("j", [NewTask("a")])
    claim = store.claim_task("i", "b", "w", 60)
    found = store.get_tasks([("j", "a"), ("i", "b"), ("i", "none"), ["none", "a"], ("j", "a")])
    assert [info and (info.instance_id, info.task_id) for info in found] == [
        ("j", "a"),
        ("i", "b"),
        None,
        None,
        ("j", "a"),
    ]
    assert found[1] == store.get_task("i", "b")
    assert found[1].claim == claim
    assert store.get_tasks([]) == []
    with store.transaction() as tx:
        tx.complete_task(claim)
        assert [info.state for info in tx.get_tasks([("i", "b"), ("i", "a")])] == ["completed", "ready"]


@pytest.mark.parametrize(
    "refs", ["ab", b"ab", 5, None, [1], ["ab"], [("i",)], [("i", "t", "x")], [("i", 5)], [("", "t")]]
)
def test_wrong_references_are_refused(store: Any, refs: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="refs"):
        store.get_tasks(refs)
