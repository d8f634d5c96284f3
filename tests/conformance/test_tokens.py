"""The methods that renew, complete, fail or release a task identify a claim by the claim's token, never by a name."""

# ruff: noqa: ARG001 - the cases of a table take the same arguments, needed or not
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from sqlite_claims import BackendError, ClaimLostError, InstanceState, NewTask, TaskClaim, TaskState
from sqlite_claims.testing import ManualClock

Settle = Callable[[Any, TaskClaim], Any]

SETTLE: dict[str, Settle] = {
    "renew": lambda store, claim: store.renew_task_claim(claim, 90),
    "complete": lambda store, claim: store.complete_task(claim, b"out"),
    "fail": lambda store, claim: store.fail_task(claim, "no"),
    "fail for good": lambda store, claim: store.fail_task(claim, "no", retry=False),
    "release": lambda store, claim: store.release_task(claim),
    "snooze": lambda store, claim: store.release_task(claim, delay=5),
}
settle_by_any = pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)


def _released(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    store.release_task_claim("i", "t", "w")


def _completed(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    store.complete_task(claim)


def _failed(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    store.fail_task(claim, "no", retry_in=0)


def _failed_for_good(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    store.fail_task(claim, "no", retry=False)


def _taken_over(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    clock.advance(60)
    store.claim_task("i", "t", "v", 30)


def _taken_over_under_the_same_name(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    clock.advance(60)
    store.claim_available_tasks("w")


def _released_and_claimed_again(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    store.release_task(claim)
    store.claim_task("i", "t", "w", 30)


def _taken_over_and_completed(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    clock.advance(60)
    store.complete_task(store.claim_task("i", "t", "w", 30))


def _instance_cancelled(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    store.cancel_instance("i")


def _instance_pruned(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    store.cancel_instance("i")
    clock.advance(60)
    store.prune(30)


def _pruned_and_claimed_under_the_same_names(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    _instance_pruned(store, clock, claim)
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "w", 30)


def _last_claim_lost(store: Any, clock: ManualClock, claim: TaskClaim) -> None:
    clock.advance(60)
    claims = [claim]
    while claims:
        claims = store.claim_available_tasks("v", 1, 0)
    assert store.get_task("i", "t").state is TaskState.FAILED


LOSE = [
    _released,
    _completed,
    _failed,
    _failed_for_good,
    _taken_over,
    _taken_over_under_the_same_name,
    _released_and_claimed_again,
    _taken_over_and_completed,
    _instance_cancelled,
    _instance_pruned,
    _pruned_and_claimed_under_the_same_names,
    _last_claim_lost,
]
lost_in_any_way = pytest.mark.parametrize("lose", LOSE)


@settle_by_any
@lost_in_any_way
def test_a_lost_claim_settles_nothing(
    store: Any, clock: ManualClock, seen: Callable[[], Any], lose: Callable[..., None], settle: Settle
) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    lose(store, clock, claim)
    before = seen()
    with pytest.raises(ClaimLostError):
        settle(store, claim)
    assert seen() == before


def _expired(store: Any, clock: ManualClock) -> None:
    clock.advance(60)


def _expired_and_found_by_others(store: Any, clock: ManualClock) -> None:
    clock.advance(60)
    assert [task.task_id for task in store.find_available_tasks("v", 5)] == ["t"]


def _expired_while_others_claimed_other_tasks(store: Any, clock: ManualClock) -> None:
    clock.advance(60)
    store.add_tasks("i", [NewTask("urgent", priority=1)])
    assert store.claim_available_tasks("v")[0].task.task_id == "urgent"


def _paused(store: Any, clock: ManualClock) -> None:
    store.pause_instance("i")


def _expired_and_paused(store: Any, clock: ManualClock) -> None:
    clock.advance(60)
    store.pause_instance("i")
    assert store.claim_task("i", "t", "v", 30) is None


def _paused_and_resumed(store: Any, clock: ManualClock) -> None:
    store.pause_instance("i")
    store.resume_instance("i")


@settle_by_any
@pytest.mark.parametrize(
    "happen",
    [
        _expired,
        _expired_and_found_by_others,
        _expired_while_others_claimed_other_tasks,
        _paused,
        _expired_and_paused,
        _paused_and_resumed,
    ],
)
def test_a_claim_that_nobody_has_taken_over_counts(
    store: Any, clock: ManualClock, happen: Callable[..., None], settle: Settle
) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("other", priority=5, delay=3600)])
    claim = store.claim_task("i", "t", "w", 30)
    happen(store, clock)
    settle(store, claim)
    task = store.get_task("i", "t")
    assert task.losses == 0
    assert task.claim != claim


@settle_by_any
def test_only_the_names_and_the_token_of_a_claim_count(store: Any, settle: Settle) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    settle(store, TaskClaim("i", "t", "somebody", 1.0, 2.0, claim.token))
    assert store.get_task("i", "t").claim != claim


@settle_by_any
@pytest.mark.parametrize(
    "change",
    [
        {"token": 0},
        {"token": -1},
        {"token": 10**6},
        {"token": 2**63},
        {"token": 2**80},
        {"token": -(2**70)},
        {"task_id": "other"},
        {"task_id": "nothing"},
        {"instance_id": "nowhere"},
    ],
    ids=str,
)
def test_a_claim_made_by_hand_is_lost_where_no_such_claim_is_held(
    store: Any, seen: Callable[[], Any], settle: Settle, change: dict[str, Any]
) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("other")])
    claim = store.claim_task("i", "t", "w", 30)
    before = seen()
    with pytest.raises(ClaimLostError):
        settle(store, replace(claim, **change))
    assert seen() == before


@settle_by_any
@pytest.mark.parametrize("name", ["", "\0", "a\0b", "\ud800", "x" * 257, 5, None, b"t", ["t"]], ids=ascii)
def test_a_claim_made_by_hand_with_impossible_names_is_refused(
    store: Any, seen: Callable[[], Any], settle: Settle, name: Any
) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    before = seen()
    for change in ({"instance_id": name}, {"task_id": name}):
        with pytest.raises(BackendError):
            settle(store, replace(claim, **change))
    assert seen() == before


def test_renewing_counts_from_now(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 100)
    clock.advance(10)
    renewed = store.renew_task_claim(claim, 30)
    assert renewed == replace(claim, expires_at=claim.claimed_at + 40)
    assert renewed.remaining() == 30
    assert store.get_task("i", "t").claim == renewed
    again = store.renew_task_claim(claim, timedelta(seconds=30))
    assert again == renewed


def test_renewing_can_take_the_end_away_and_give_it_back(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.renew_task_claim(store.claim_task("i", "t", "w", 30), None)
    assert (claim.expires_at, claim.remaining()) == (None, None)
    clock.advance(1000)
    assert store.claim_task("i", "t", "v", 30) is None
    claim = store.renew_task_claim(claim, 30)
    assert claim.remaining() == 30
    clock.advance(30)
    assert store.claim_task("i", "t", "v", 30) is not None


def test_renewing_an_expired_claim_gives_it_new_life(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    clock.advance(60)
    store.renew_task_claim(claim, 30)
    assert store.claim_task("i", "t", "v", 30) is None


def test_renewing_by_nothing_ends_the_claims_time_and_keeps_it_the_owners(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.renew_task_claim(store.claim_task("i", "t", "w", 30), 0)
    assert claim.is_expired()
    store.complete_task(claim)


def test_completing_stores_the_result_and_ends_the_claim(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    clock.advance(5)
    assert store.complete_task(claim, b"result") is None
    task = store.get_task("i", "t")
    assert (task.state, task.output, task.claim, task.worker_id) == (TaskState.COMPLETED, b"result", None, "w")
    assert task.finished_at - task.started_at == timedelta(seconds=5)
    assert store.get_instance("i").state is InstanceState.COMPLETED
    assert list(store.list_claims()) == []


@pytest.mark.parametrize(
    "output",
    [b"", b"\0\xff", bytearray(b"ab"), memoryview(b"abcd")[::2]],
    ids=["empty", "bytes", "bytearray", "memoryview"],
)
def test_an_output_is_bytes_like(store: Any, output: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.complete_task(store.claim_task("i", "t", "w", 30), output)
    assert store.get_task("i", "t").output == bytes(output)


def test_completing_without_an_output_stores_an_empty_one(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.complete_task(store.claim_task("i", "t", "w", 30))
    assert store.get_task("i", "t").output == b""


def test_an_output_may_be_large(store: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("next", depends_on=["t"])])
    output = bytes(range(256)) * 8192
    store.complete_task(store.claim_task("i", "t", "w", 30), output)
    assert store.get_task("i", "t").output == output
    assert store.find_available_tasks("w", 1)[0].input == output


def test_releasing_by_the_token_is_as_by_the_name(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    before = store.get_task("i", "t")
    claim = store.claim_task("i", "t", "w", 30)
    clock.advance(5)
    store.release_task(claim)
    assert store.get_task("i", "t") == before


def test_a_task_released_with_a_delay_is_scheduled_and_then_takes_its_place(
    store: Any, clock: ManualClock, offered: Callable[..., list[str]]
) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("waits")])
    store.release_task(store.claim_task("i", "t", "w", 30), delay=timedelta(seconds=10))
    task = store.get_task("i", "t")
    assert (task.state, task.attempts, task.worker_id) == (TaskState.SCHEDULED, 0, None)
    clock.advance(5)
    store.add_tasks("i", [NewTask("added before")])
    assert offered() == ["waits", "added before"]
    clock.advance(5)
    store.add_tasks("i", [NewTask("added then")])
    clock.advance(5)
    assert store.get_task("i", "t").state is TaskState.READY
    assert offered() == ["waits", "added before", "t", "added then"]


def test_a_release_with_a_delay_of_nothing_gives_a_place_of_now(
    store: Any, clock: ManualClock, offered: Callable[..., list[str]]
) -> None:
    store.add_instance("i", [NewTask("t")])
    clock.advance(1)
    store.add_tasks("i", [NewTask("later")])
    claim = store.claim_task("i", "t", "w", 30)
    clock.advance(1)
    store.release_task(claim, delay=0)
    assert store.get_task("i", "t").state is TaskState.READY
    assert offered() == ["later", "t"]


def test_a_claim_settles_its_task_from_whichever_store_object_it_came(bench: Any) -> None:
    bench.store.add_instance("i", [NewTask("t")])
    claim = bench.store.claim_task("i", "t", "w", 30)
    other = bench.open()
    other.complete_task(claim, b"done")
    assert bench.store.get_task("i", "t").output == b"done"
    if other is not bench.store:
        other.close()


@settle_by_any
def test_a_claim_outlives_its_process_until_its_time_is_over(bench: Any, settle: Settle) -> None:
    bench.store.add_instance("i", [NewTask("t")])
    claim = bench.store.claim_task("i", "t", "w", 30)
    store = bench.reopen()
    assert store.claim_task("i", "t", "v", 30) is None
    settle(store, claim)


@settle_by_any
def test_no_claim_outlives_the_boot(bench: Any, settle: Settle) -> None:
    bench.store.add_instance("i", [NewTask("t")])
    claim = bench.store.claim_task("i", "t", "w", None)
    store = bench.reboot()
    with pytest.raises(ClaimLostError):
        settle(store, claim)
    assert store.claim_task("i", "t", "w", 30).token > claim.token
    with pytest.raises(ClaimLostError):
        settle(store, claim)


def test_tokens_grow_over_each_boot_so_that_what_the_power_took_is_not_given_twice(bench: Any) -> None:
    bench.store.add_instance("i", [NewTask("t")])
    tokens = []
    for _ in range(3):
        tokens += [bench.store.claim_available_tasks("w")[0].claim.token]
        bench.store.release_task_claim("i", "t", "w")
        bench.reboot()
    assert tokens == sorted(set(tokens))
    # The gap between two boots is larger than the number of tokens that a boot could have issued before a power cut.
    assert all(later - earlier > 2**31 for earlier, later in pairwise(tokens))


def test_a_task_added_anew_under_pruned_names_goes_on_above_the_old_tokens(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t", max_lost=100)])
    claims = [store.claim_task("i", "t", "w", 0) for _ in range(10)]
    store.complete_task(claims[-1])
    clock.advance(60)
    assert store.prune(30) == 1
    store.add_instance("i", [NewTask("t")])
    assert store.claim_task("i", "t", "w", 30).token > claims[-1].token
