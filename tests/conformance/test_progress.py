"""Progress and checkpoints that the holder of a claim reports."""

from __future__ import annotations

from typing import Any

import pytest

from sqlite_claims import ClaimLostError, InvalidArgumentError, NewTask
from sqlite_claims.testing import ManualClock


def claimed(store: Any, **task: Any) -> Any:
    store.add_instance("i", [NewTask("t", **task), NewTask("u")])
    return store.claim_task("i", "t", "w", 60)


def progress(store: Any) -> Any:
    info = store.get_task("i", "t").progress
    return info and (info.done, info.total, info.note)


def checkpoint(store: Any) -> bytes | None:
    stored: bytes | None = store.get_task("i", "t").checkpoint
    return stored


def test_a_task_without_a_report_has_no_progress_and_no_checkpoint(store: Any) -> None:
    claim = claimed(store)
    assert (progress(store), checkpoint(store)) == (None, None)
    store.report_progress(claim)
    assert (progress(store), checkpoint(store)) == (None, None)


def test_arguments_that_are_left_out_keep_the_stored_values(store: Any, clock: ManualClock) -> None:
    claim = claimed(store)
    store.report_progress(claim, done=1, total=10)
    first = store.get_task("i", "t").progress.reported_at
    assert progress(store) == (1.0, 10.0, None)
    clock.advance(2)
    store.report_progress(claim, note="reading")
    store.report_progress(claim, done=0)
    assert progress(store) == (0.0, 10.0, "reading")
    assert (store.get_task("i", "t").progress.reported_at - first).total_seconds() == 2
    store.report_progress(claim, checkpoint=b"state")
    assert (progress(store), checkpoint(store)) == ((0.0, 10.0, "reading"), b"state")
    store.report_progress(claim, checkpoint=bytearray(b"later"))
    assert checkpoint(store) == b"later"


def test_a_checkpoint_alone_is_no_progress(store: Any) -> None:
    store.report_progress(claimed(store), checkpoint=b"")
    assert (progress(store), checkpoint(store)) == (None, b"")


@pytest.mark.parametrize("end", ["failure", "loss", "release"])
def test_progress_and_checkpoint_are_kept_for_the_next_attempt(store: Any, clock: ManualClock, end: str) -> None:
    claim = claimed(store)
    store.report_progress(claim, done=3, checkpoint=b"state")
    if end == "failure":
        store.fail_task(claim, "no", retry_in=0)
    elif end == "release":
        store.release_task(claim)
    else:
        clock.advance(60)
    again = store.claim_task("i", "t", "w", 60)
    assert (progress(store), checkpoint(store)) == ((3.0, None, None), b"state")
    store.report_progress(again, done=4)
    store.complete_task(again, b"done")
    assert (progress(store), checkpoint(store)) == ((4.0, None, None), None)


@pytest.mark.parametrize("many", [False, True])
def test_completion_deletes_the_checkpoint_and_keeps_the_progress(store: Any, many: bool) -> None:
    claim = claimed(store)
    store.report_progress(claim, done=3, checkpoint=b"state")
    if many:
        store.complete_tasks([(claim, b"output")])
    else:
        store.complete_task(claim, b"output")
    info = store.get_task("i", "t")
    assert (info.output, info.progress.done, info.checkpoint) == (b"output", 3.0, None)
    assert not hasattr(store, "check") or store.check() == []


def test_retry_task_deletes_both(store: Any) -> None:
    claim = claimed(store)
    store.report_progress(claim, done=3, note="x", checkpoint=b"state")
    store.fail_task(claim, "no", retry=False)
    assert (progress(store), checkpoint(store)) == ((3.0, None, "x"), b"state")
    store.retry_task("i", "t")
    assert (progress(store), checkpoint(store)) == (None, None)
    store.complete_task(store.claim_task("i", "t", "w", 60))
    assert not hasattr(store, "check") or store.check() == []


def test_a_lost_claim_reports_nothing(store: Any, clock: ManualClock) -> None:
    claim = claimed(store)
    clock.advance(60)
    store.report_progress(claim, done=1)  # nobody has taken the task over
    store.claim_task("i", "t", "v", 60)
    with pytest.raises(ClaimLostError):
        store.report_progress(claim, done=2, checkpoint=b"late")
    assert (progress(store), checkpoint(store)) == ((1.0, None, None), None)


def test_reports_are_undone_with_their_transaction(store: Any) -> None:
    claim = claimed(store)
    with store.transaction() as tx:
        tx.report_progress(claim, done=1, checkpoint=b"a")
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:  # noqa: PT012
        tx.report_progress(claim, done=2, checkpoint=b"b")
        raise ZeroDivisionError
    assert (progress(store), checkpoint(store)) == ((1.0, None, None), b"a")


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("done", [-1, float("nan"), float("inf"), "1", True, 10**400]),
        ("total", [-0.5, float("-inf"), b"1"]),
        ("note", [b"bytes", 5, "x" * 1025, "é" * 513]),
        ("checkpoint", ["text", 5, b"x" * ((1 << 20) + 1)]),
    ],
)
def test_a_wrong_report_is_refused_and_nothing_is_stored(store: Any, argument: str, values: list[Any]) -> None:
    claim = claimed(store)
    for value in values:
        with pytest.raises(InvalidArgumentError, match=argument):
            store.report_progress(claim, **{"done": 1, argument: value})
    assert (progress(store), checkpoint(store)) == (None, None)


def test_the_largest_note_and_checkpoint_are_stored(store: Any) -> None:
    claim = claimed(store)
    store.report_progress(claim, note="é" * 512, checkpoint=b"x" * (1 << 20))
    assert progress(store) == (None, None, "é" * 512)
    assert checkpoint(store) == b"x" * (1 << 20)


def test_a_pruned_task_leaves_nothing_to_a_later_task(store: Any, clock: ManualClock) -> None:
    claim = claimed(store)
    store.report_progress(claim, done=1, checkpoint=b"state")
    store.cancel_instance("i")
    clock.advance(10)
    assert store.prune(5) == 1
    claimed(store)
    assert (progress(store), checkpoint(store)) == (None, None)
    assert not hasattr(store, "check") or store.check() == []
