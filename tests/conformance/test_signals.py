"""The methods that pause, resume and cancel instances."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sqlite_claims import ClaimLostError, InstanceState, InvalidStateError, NewTask, NotFoundError, TaskState
from sqlite_claims.testing import ManualClock

Offered = Callable[..., list[str]]
Seen = Callable[[], list[Any]]

SIGNALS = ["pause_instance", "resume_instance", "cancel_instance"]


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_missing_name_is_not_found(store: Any, signal: str) -> None:
    with pytest.raises(NotFoundError):
        getattr(store, signal)("nowhere")


def test_a_paused_instances_tasks_are_not_given_to_anybody(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("later", delay=5)])
    store.add_instance("j", [NewTask("u", priority=5)])
    store.pause_instance("i")
    info = store.get_instance("i")
    assert (info.state, info.finished_at) == (InstanceState.PAUSED, None)
    assert (info.counts[TaskState.READY], info.counts[TaskState.SCHEDULED]) == (1, 1)
    assert store.get_task("i", "t").state is TaskState.READY
    assert offered() == ["u"]
    assert store.claim_task("i", "t", "w", 30) is None
    assert [claimed.task.task_id for claimed in store.claim_available_tasks("w", 5)] == ["u"]


def test_time_goes_on_in_a_paused_instance(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("t", delay=10), NewTask("held")])
    store.claim_task("i", "held", "w", 10)
    store.pause_instance("i")
    clock.advance(10)
    assert store.get_task("i", "t").state is TaskState.READY
    assert offered() == []
    assert store.claim_task("i", "held", "v", 10) is None
    assert store.get_task("i", "held").losses == 0
    store.resume_instance("i")
    assert offered() == ["t", "held"]


def test_a_paused_instance_ends_when_a_holder_settles_its_last_open_task(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.add_instance("j", [NewTask("t")])
    claims = [store.claim_task(name, "t", "w", 30) for name in "ij"]
    store.pause_instance("i")
    store.pause_instance("j")
    store.complete_task(claims[0])
    store.fail_task(claims[1], "no", retry=False)
    assert store.get_instance("i").state is InstanceState.COMPLETED
    assert store.get_instance("j").state is InstanceState.FAILED
    assert store.get_instance("i").finished_at is not None


def test_tasks_unblocked_or_failed_while_their_instance_is_paused_wait_for_the_resume(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b", depends_on=["a"]), NewTask("c")])
    a, c = (claimed.claim for claimed in store.claim_available_tasks("w", 2))
    store.pause_instance("i")
    store.complete_task(a)
    store.fail_task(c, "no", retry_in=5)
    assert store.get_task("i", "b").state is TaskState.READY
    assert store.get_task("i", "c").state is TaskState.SCHEDULED
    clock.advance(5)
    assert offered() == []
    store.resume_instance("i")
    assert offered() == ["b", "c"]


@pytest.mark.parametrize("signal", SIGNALS)
def test_doing_it_twice_does_nothing(store: Any, clock: ManualClock, seen: Seen, signal: str) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u", depends_on=["t"])])
    if signal == "resume_instance":
        store.pause_instance("i")
    getattr(store, signal)("i")
    before = seen()
    clock.advance(5)
    getattr(store, signal)("i")
    assert seen() == before


def test_resuming_what_is_in_progress_completed_or_failed_does_nothing(store: Any, seen: Seen) -> None:
    for name in "ijk":
        store.add_instance(name, [NewTask("t")])
    store.complete_task(store.claim_task("j", "t", "w", 30))
    store.fail_task(store.claim_task("k", "t", "w", 30), "no", retry=False)
    before = seen()
    for name in "ijk":
        store.resume_instance(name)
    assert seen() == before


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("signal", ["pause_instance", "cancel_instance"])
def test_an_instance_that_has_ended_is_neither_paused_nor_cancelled(
    store: Any, seen: Seen, signal: str, failed: bool
) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    if failed:
        store.fail_task(claim, "no", retry=False)
    else:
        store.complete_task(claim)
    before = seen()
    with pytest.raises(InvalidStateError):
        getattr(store, signal)("i")
    assert seen() == before


@pytest.mark.parametrize("signal", ["pause_instance", "resume_instance"])
def test_a_cancelled_instance_is_neither_paused_nor_resumed(store: Any, seen: Seen, signal: str) -> None:
    store.add_instance("i", [NewTask("t")])
    store.cancel_instance("i")
    before = seen()
    with pytest.raises(InvalidStateError):
        getattr(store, signal)("i")
    assert seen() == before


@pytest.mark.parametrize("paused", [False, True])
def test_cancelling_ends_all_that_is_open_and_keeps_what_has_ended(
    store: Any, clock: ManualClock, offered: Offered, paused: bool
) -> None:
    store.add_instance(
        "i",
        [
            NewTask("done"),
            NewTask("failed"),
            NewTask("held"),
            NewTask("endless"),
            NewTask("blocked", depends_on=["held"]),
            NewTask("ready"),
            NewTask("later", delay=60),
            NewTask("retried"),
        ],
    )
    store.complete_task(store.claim_task("i", "done", "w", 30), b"out")
    store.fail_task(store.claim_task("i", "failed", "w", 30), "broke", retry=False)
    store.fail_task(store.claim_task("i", "retried", "w", 30), "once", retry_in=5)
    claims = [store.claim_task("i", "held", "w", 30), store.claim_task("i", "endless", "w", None)]
    ended = [store.get_task("i", name) for name in ("done", "failed")]
    if paused:
        store.pause_instance("i")
    clock.advance(7)
    store.cancel_instance("i", "enough")
    info = store.get_instance("i")
    assert (info.state, info.reason) == (InstanceState.CANCELLED, "enough")
    assert info.finished_at - info.added_at == timedelta(seconds=7)
    assert info.counts == dict.fromkeys(TaskState, 0) | {"completed": 1, "failed": 1, "cancelled": 6}
    assert [store.get_task("i", name) for name in ("done", "failed")] == ended
    for name in ("held", "endless", "blocked", "ready", "later", "retried"):
        task = store.get_task("i", name)
        assert (task.state, task.claim, task.finished_at) == (TaskState.CANCELLED, None, info.finished_at)
    assert store.get_task("i", "held").attempts == 1
    assert (store.get_task("i", "held").worker_id, store.get_task("i", "held").error) == ("w", None)
    assert store.get_task("i", "retried").error == "once"
    for claim in claims:
        with pytest.raises(ClaimLostError):
            store.complete_task(claim)
    assert list(store.list_claims()) == []
    clock.advance(3600)
    assert offered() == []
    stats = store.stats()
    assert (stats.counts, stats.live_claims, stats.oldest_ready_age) == (info.counts, 0, None)


def test_the_first_reason_stays(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.cancel_instance("i", "first")
    store.cancel_instance("i", "second")
    assert store.get_instance("i").reason == "first"
    store.add_instance("j")
    store.cancel_instance("j")
    store.cancel_instance("j", "too late")
    assert store.get_instance("j").reason is None


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("", ""), ("größer\0", "größer\0"), ("bad \udcff byte", "bad \\udcff byte")],
    ids=["empty", "odd", "surrogate"],
)
def test_a_reason_is_any_text_and_what_is_not_utf_8_is_escaped(store: Any, reason: str, kept: str) -> None:
    store.add_instance("i", [NewTask("t")])
    store.cancel_instance("i", reason)
    assert store.get_instance("i").reason == kept


def test_an_instance_without_tasks_can_be_paused_resumed_and_cancelled(store: Any) -> None:
    store.add_instance("i")
    store.pause_instance("i")
    assert store.get_instance("i").state is InstanceState.PAUSED
    store.resume_instance("i")
    assert store.get_instance("i").state is InstanceState.IN_PROGRESS
    store.cancel_instance("i")
    assert store.get_instance("i").state is InstanceState.CANCELLED


def test_a_large_instance_is_paused_resumed_and_cancelled_as_a_whole(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask(f"t{n}", priority=n % 5 + 1) for n in range(3500)])
    everything = offered("w", 5000)
    claims = [claimed.claim for claimed in store.claim_available_tasks("w", 10)]
    store.pause_instance("i")
    assert offered("w", 5000) == []
    assert store.complete_tasks([(claim, b"") for claim in claims[:5]]) == (claims[:5], [])
    store.release_tasks(claims[5:])
    store.resume_instance("i")
    assert offered("w", 5000) == everything[5:]
    store.cancel_instance("i")
    assert offered("w", 5000) == []
    assert store.get_instance("i").counts[TaskState.CANCELLED] == 3495
    assert sum(task.state is TaskState.CANCELLED for task in store.list_tasks("i")) == 3495
    assert store.check() == []
