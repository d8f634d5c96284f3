"""``complete_and_claim`` completes tasks and claims the next ones in one transaction."""

from __future__ import annotations

from typing import Any

import pytest

from sqlite_claims import ClaimLostError, Every, Handover, InvalidArgumentError, NewTask, TaskState
from sqlite_claims.testing import ManualClock


def claim_all(store: Any, limit: int = 10) -> list[Any]:
    return [one.claim for one in store.claim_available_tasks("w", limit, 30)]


def test_it_completes_and_claims(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask(f"t{n}", priority=1 + n, metadata={"n": str(n)}) for n in range(4)])
    first, second = claim_all(store, 2)
    clock.advance(1)
    handover = store.complete_and_claim("w", [(first, b"one"), (second, b"")], 1, 20, tags=[], kinds=[""])
    assert isinstance(handover, Handover)
    done, lost, claimed = handover
    assert (done, lost) == ([first, second], [])
    assert [(one.task.task_id, one.task.metadata, one.claim.worker_id) for one in claimed] == [("t2", {"n": "2"}, "w")]
    assert claimed[0].claim.remaining() == 20
    assert (store.get_task("i", "t0").output, store.get_task("i", "t1").output) == (b"one", b"")
    store.complete_task(claimed[0].claim)


def test_a_task_that_becomes_ready_by_it_may_be_claimed(store: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("after", depends_on=["t"])])
    (claim,) = claim_all(store)
    (next_task,) = store.complete_and_claim("w", [(claim, b"out")]).claimed
    assert (next_task.task.task_id, next_task.task.input) == ("after", b"out")


def test_a_slot_that_becomes_free_by_it_may_be_taken(store: Any) -> None:
    store.set_limit("one", concurrency=1)
    store.add_instance("i", [NewTask("t", limit="one"), NewTask("u", limit="one"), NewTask("v", limit="one")])
    (claim,) = claim_all(store)
    assert claim_all(store) == []
    handover = store.complete_and_claim("w", [(claim, b"")], 10)
    assert [one.task.task_id for one in handover.claimed] == ["u"]
    handover = store.complete_and_claim("w", [(handover.claimed[0].claim, b"")], 10, limited=0)
    assert handover.claimed == []


def test_a_lost_claim_is_reported_and_the_others_are_done(store: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    first, second = claim_all(store)
    store.release_task(first)
    handover = store.complete_and_claim("v", [(first, b"late"), (second, b"done")])
    assert (handover.done, handover.lost) == ([second], [first])
    assert [(one.task.task_id, one.claim.worker_id) for one in handover.claimed] == [("t", "v")]
    with pytest.raises(ClaimLostError):
        store.complete_task(first)


def test_an_expired_last_claim_is_completed_before_the_search(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t", max_lost=1)])
    (claim,) = claim_all(store)
    clock.advance(40)
    assert store.complete_and_claim("w", [(claim, b"")]) == ([claim], [], [])
    assert store.get_task("i", "t").state is TaskState.COMPLETED


def test_without_results_or_without_a_limit_it_does_the_other_half(store: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    handover = store.complete_and_claim("w", [])
    assert (handover.done, handover.lost, len(handover.claimed)) == ([], [], 1)
    claim = handover.claimed[0].claim
    assert store.complete_and_claim("w", [(claim, b"")], 0) == ([claim], [], [])
    assert store.complete_and_claim("w", [], kinds=[]) == ([], [], [])


def test_a_wrong_argument_does_neither(store: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    (claim,) = claim_all(store, 1)
    wrong: list[dict[str, Any]] = [
        {"limit": -1},
        {"ttl": -1},
        {"worker_id": ""},
        {"tags": "a"},
        {"kinds": "a"},
        {"limited": -1},
        {"results": [(claim, "text")]},
        {"results": claim},
        {"session": "s"},
    ]
    for each in wrong:
        with pytest.raises(InvalidArgumentError):
            store.complete_and_claim(**{"worker_id": "w", "results": [(claim, b"")]} | each)
    assert (store.get_task("i", "t").state, store.get_task("i", "u").state) == (TaskState.CLAIMED, TaskState.READY)


def test_it_adds_due_ticks(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    (claim,) = claim_all(store)
    store.set_schedule("s", Every(10), NewTask("tick"))
    clock.advance(10)
    handover = store.complete_and_claim("w", [(claim, b"")])
    assert [one.task.task_id for one in handover.claimed] == ["tick"]


def test_it_within_a_transaction(store: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    (claim,) = claim_all(store, 1)
    with store.transaction() as tx:
        handover = tx.complete_and_claim("w", [(claim, b"")])
        assert [one.task.task_id for one in handover.claimed] == ["u"]
    assert store.get_task("i", "t").state is TaskState.COMPLETED
    store.complete_task(handover.claimed[0].claim)
