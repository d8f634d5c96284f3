"""The methods that renew, complete, fail or release many claims in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sqlite_claims import InstanceState, InvalidArgumentError, NewTask, RetryPolicy, TaskClaim, TaskState
from sqlite_claims.testing import ManualClock

Settle = Callable[[Any, Any], tuple[list[TaskClaim], list[TaskClaim]]]

SETTLE: dict[str, Settle] = {
    "renew": lambda store, claims: store.renew_task_claims(claims, 60),
    "complete": lambda store, claims: store.complete_tasks((claim, b"out") for claim in claims),
    "fail": lambda store, claims: store.fail_tasks((claim, "no") for claim in claims),
    "release": lambda store, claims: store.release_tasks(claims),
}
settle_by_any = pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)


def claim_some(store: Any, number: int) -> list[TaskClaim]:
    store.add_instance("i", [NewTask(f"t{n}", retry=RetryPolicy(jitter=0)) for n in range(number)])
    return [claimed.claim for claimed in store.claim_available_tasks("w", number, 30)]


@settle_by_any
def test_a_batch_of_nothing_does_nothing(store: Any, seen: Callable[[], Any], settle: Settle) -> None:
    claim_some(store, 2)
    before = seen()
    assert settle(store, []) == ([], [])
    assert seen() == before


@settle_by_any
def test_a_batch_tells_what_was_done_and_what_was_lost(store: Any, settle: Settle) -> None:
    claims = claim_some(store, 5)
    store.complete_task(claims[1])
    store.release_task(claims[3])
    gone = replace(claims[4], instance_id="nowhere")
    done, lost = settle(store, [*claims[:4], gone])
    assert [claim.task_id for claim in done] == ["t0", "t2"]
    assert lost == [claims[1], claims[3], gone]
    assert store.get_task("i", "t4").claim == claims[4]


def test_a_batch_of_renewals_gives_the_claims_as_they_are_now(store: Any, clock: ManualClock) -> None:
    claims = claim_some(store, 3)
    clock.advance(10)
    done, lost = store.renew_task_claims(iter(claims), 60)
    assert (done, lost) == ([replace(claim, expires_at=claim.claimed_at + 70) for claim in claims], [])
    assert [store.get_task("i", claim.task_id).claim for claim in claims] == done
    done, _ = store.renew_task_claims(done, None)
    assert {claim.expires_at for claim in done} == {None}


def test_renewing_a_claim_twice_in_a_batch_is_fine(store: Any) -> None:
    (claim,) = claim_some(store, 1)
    done, lost = store.renew_task_claims([claim, claim], 60)
    assert (len(done), lost) == (2, [])


@pytest.mark.parametrize("settle", [SETTLE[name] for name in ("complete", "fail", "release")])
def test_a_claim_that_appears_twice_is_settled_once_and_lost_the_second_time(store: Any, settle: Settle) -> None:
    claims = claim_some(store, 2)
    assert settle(store, [claims[0], claims[1], claims[0]]) == (claims, [claims[0]])
    assert store.get_task("i", "t0").failures <= 1


def test_a_batch_of_completions_stores_each_result_and_unblocks_dependents(store: Any) -> None:
    store.add_instance(
        "i", [NewTask("a"), NewTask("b"), NewTask("both", depends_on=["a", "b"]), NewTask("one", depends_on=["a"])]
    )
    a, b = (claimed.claim for claimed in store.claim_available_tasks("w", 2))
    assert store.complete_tasks([(a, b"1"), (b, bytearray(b"2"))]) == ([a, b], [])
    assert (store.get_task("i", "a").output, store.get_task("i", "b").output) == (b"1", b"2")
    assert [task.task_id for task in store.find_available_tasks("w", 5)] == ["both", "one"]
    assert store.get_task("i", "one").input == b"1"


def test_a_batch_of_completions_may_end_instances(store: Any) -> None:
    for name in ("i", "j"):
        store.add_instance(name, [NewTask("t"), NewTask("u")])
    claims = [claimed.claim for claimed in store.claim_available_tasks("w", 4)]
    store.complete_tasks([(claim, b"") for claim in claims[:3]])
    assert store.get_instance("i").state is InstanceState.COMPLETED
    assert store.get_instance("j").state is InstanceState.IN_PROGRESS


def test_a_batch_of_failures_goes_by_each_tasks_policy(store: Any) -> None:
    tasks = [
        NewTask("slow", retry=RetryPolicy(initial_delay=60, jitter=0)),
        NewTask("fast", retry=RetryPolicy(initial_delay=0, jitter=0)),
        NewTask("once", max_attempts=1),
        NewTask("after", depends_on=["once"]),
    ]
    store.add_instance("i", tasks)
    claims = [claimed.claim for claimed in store.claim_available_tasks("w", 3)]
    store.fail_tasks([(claim, f"error of {claim.task_id}") for claim in claims])
    found = {task.task_id: (task.state, task.error) for task in store.list_tasks("i")}
    assert found == {
        "slow": (TaskState.SCHEDULED, "error of slow"),
        "fast": (TaskState.READY, "error of fast"),
        "once": (TaskState.FAILED, "error of once"),
        "after": (TaskState.CANCELLED, None),
    }


def test_a_batch_of_releases_returns_each_task_to_its_old_place(store: Any) -> None:
    claims = claim_some(store, 3)
    store.release_tasks([claims[2], claims[0]])
    assert [task.task_id for task in store.find_available_tasks("w", 5)] == ["t0", "t2"]
    assert store.get_task("i", "t0").attempts == 0


def test_the_holder_of_the_same_name_does_not_profit_from_a_stale_batch(store: Any, clock: ManualClock) -> None:
    old = claim_some(store, 2)
    clock.advance(30)
    new = [claimed.claim for claimed in store.claim_available_tasks("w", 1, 30)]
    assert store.complete_tasks([(claim, b"") for claim in old]) == ([old[1]], [old[0]])
    assert store.get_task("i", "t0").claim == new[0]


BAD: list[tuple[str, str, list[Any]]] = [
    ("renew_task_claims", "claims", [None, "x", ("i", "t", 1), 5]),
    ("release_tasks", "claims", [None, "x", ("i", "t", 1), 5]),
    ("complete_tasks", "results", [None, "x", 5, (), "claim", "claim and text", "claim alone", "three"]),
    ("fail_tasks", "failures", [None, "x", 5, (), "claim", "claim and bytes", "claim alone", "three"]),
]


def _element(what: Any, claim: TaskClaim) -> Any:
    made: dict[str, Any] = {
        "claim": claim,
        "claim and text": (claim, "text"),
        "claim and bytes": (claim, b"bytes"),
        "claim alone": (claim,),
        "three": (claim, b"", ""),
    }
    return made.get(what, what) if isinstance(what, str) else what


@pytest.mark.parametrize(
    ("method", "argument", "bad"), [(method, name, bad) for method, name, all_bad in BAD for bad in all_bad], ids=str
)
def test_a_malformed_element_is_refused_and_nothing_is_done(
    store: Any, seen: Callable[[], Any], method: str, argument: str, bad: Any
) -> None:
    claims = claim_some(store, 2)
    elements: dict[str, list[Any]] = {
        "renew_task_claims": claims,
        "release_tasks": claims,
        "complete_tasks": [(claim, b"") for claim in claims],
        "fail_tasks": [(claim, "") for claim in claims],
    }
    good = elements[method]
    more = (30,) if method == "renew_task_claims" else ()
    before = seen()
    with pytest.raises(InvalidArgumentError, match=argument):
        getattr(store, method)([good[0], _element(bad, claims[1]), good[1]], *more)
    assert seen() == before


@pytest.mark.parametrize(("method", "argument"), [(method, argument) for method, argument, _ in BAD])
@pytest.mark.parametrize("bad", [None, 5, "claims", b"claims"])
def test_a_value_that_is_no_collection_is_refused(store: Any, method: str, argument: str, bad: Any) -> None:
    more = (30,) if method == "renew_task_claims" else ()
    with pytest.raises(InvalidArgumentError, match=argument):
        getattr(store, method)(bad, *more)


@settle_by_any
def test_an_error_of_the_callers_own_generator_passes_through_and_nothing_is_done(
    store: Any, seen: Callable[[], Any], settle: Settle
) -> None:
    claims = claim_some(store, 2)
    before = seen()

    def broken() -> Any:
        yield claims[0]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        settle(store, broken())
    assert seen() == before


def test_a_batch_may_be_larger_than_any_statement_takes_parameters(store: Any) -> None:
    claims = claim_some(store, 3000)
    done, lost = store.renew_task_claims(claims, 60)
    assert (len(done), lost) == (3000, [])
    assert store.complete_tasks([(claim, b"x") for claim in done]) == (done, [])
    assert store.get_instance("i").state is InstanceState.COMPLETED
