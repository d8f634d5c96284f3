"""Waiting until tasks have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, NewTask, NotFoundError
from sqlite_claims.testing import ManualClock


def add(store: Any, *names: str) -> list[tuple[str, str]]:
    store.add_instance("i", [NewTask(name) for name in names])
    return [("i", name) for name in names]


def complete(store: Any, name: str, output: bytes = b"") -> None:
    store.complete_task(store.claim_task("i", name, "w", 60), output)


def in_thread(act: Callable[[], Any]) -> Callable[[], Any]:
    """Run a function in a thread. Return a function that waits for the result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(act()))
    thread.start()

    def join() -> Any:
        thread.join(60)
        return results[0]

    return join


def names(found: Any) -> list[str]:
    return [info.task_id for info in found]


# -- one task


def test_an_ended_task_is_returned_at_once(store: Any) -> None:
    add(store, "a", "b", "c", "d")
    complete(store, "a", b"output")
    store.fail_task(store.claim_task("i", "b", "w", 60), "no", retry=False)
    assert store.wait_for_task("i", "a", 60).output == b"output"
    assert store.wait_for_task("i", "b", 60).state == "failed"
    store.cancel_instance("i")
    assert store.wait_for_task("i", "c", 60).state == "cancelled"
    assert names(store.wait_for_any([("i", "c"), ("i", "d")], 60)) == ["c", "d"]


def test_a_task_that_has_not_ended_gives_none_at_the_timeout(store: Any) -> None:
    add(store, "a")
    store.claim_task("i", "a", "w", 60)
    assert store.wait_for_task("i", "a", 0) is None
    assert store.wait_for_task("i", "a", 0.01) is None


def test_a_waiting_call_returns_the_task_when_it_ends(store: Any) -> None:
    add(store, "a")
    join = in_thread(lambda: store.wait_for_task("i", "a", 60))
    complete(store, "a", b"output")
    assert join().output == b"output"


def test_an_unknown_task_is_an_error(store: Any) -> None:
    refs = add(store, "a")
    with pytest.raises(NotFoundError, match="'b'"):
        store.wait_for_task("i", "b", 60)
    with pytest.raises(NotFoundError, match="'b'"):
        store.wait_for_any([*refs, ("i", "b")], 60)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", None, True])
def test_a_wrong_timeout_is_refused(store: Any, timeout: Any) -> None:
    refs = add(store, "a")
    with pytest.raises(InvalidArgumentError, match="timeout"):
        store.wait_for_task("i", "a", timeout)
    with pytest.raises(InvalidArgumentError, match="timeout"):
        store.wait_for_any(refs, timeout)


# -- several tasks


def test_ended_tasks_come_in_the_order_of_their_ends_each_once(store: Any, clock: ManualClock) -> None:
    refs = add(store, "a", "b", "c", "d")
    for name in ("c", "a", "d"):
        clock.advance(1)
        complete(store, name)
    clock.advance(1)
    clock.step_wall(-3600)
    complete(store, "b")
    assert names(store.wait_for_any([*refs, ("i", "a"), ["i", "d"]], 60)) == ["c", "a", "d", "b"]


def test_only_the_tasks_that_have_ended_are_returned(store: Any) -> None:
    refs = add(store, "a", "b", "c")
    complete(store, "b")
    assert names(store.wait_for_any(refs, 60)) == ["b"]
    assert names(store.wait_for_any(iter([("i", "a"), ("i", "b")]), 60)) == ["b"]
    assert store.wait_for_any([("i", "a"), ("i", "c")], 0.01) == []


def test_without_references_the_list_is_empty_at_once(store: Any) -> None:
    assert store.wait_for_any([], 60) == []


def test_a_waiting_call_returns_the_tasks_that_end(store: Any) -> None:
    refs = add(store, "a", "b")
    join = in_thread(lambda: store.wait_for_any(refs, 60))
    complete(store, "b")
    assert names(join()) == ["b"]


def test_dependents_of_a_failed_task_have_ended_with_it(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b", depends_on=["a"]), NewTask("c")])
    complete(store, "c")
    clock.advance(1)
    store.fail_task(store.claim_task("i", "a", "w", 60), "no", retry=False)
    assert names(store.wait_for_any([("i", name) for name in "abc"], 60)) == ["c", "a", "b"]


def test_a_retried_task_has_not_ended(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b", depends_on=["a"])])
    store.fail_task(store.claim_task("i", "a", "w", 60), "no", retry=False)
    store.retry_task("i", "a")
    assert store.wait_for_any([("i", "a"), ("i", "b")], 0.01) == []
    complete(store, "a")
    clock.advance(1)
    complete(store, "b")
    assert names(store.wait_for_any([("i", "b"), ("i", "a")], 60)) == ["a", "b"]
    assert not hasattr(store, "check") or store.check() == []


def test_deleted_tasks_are_left_out(store: Any, clock: ManualClock) -> None:
    add(store, "a")
    store.add_instance("j", [NewTask("b")])
    store.cancel_instance("i")
    clock.advance(10)
    with pytest.raises(NotFoundError), store.transaction() as tx:
        tx.get_task("i", "none")
    join = in_thread(lambda: store.wait_for_any([("j", "b")], 60))
    assert store.prune(5) == 1
    store.complete_task(store.claim_task("j", "b", "w", 60))
    assert names(join()) == ["b"]


def test_the_call_ends_when_no_task_is_left(store: Any, clock: ManualClock) -> None:
    refs = add(store, "a", "b")
    watch = getattr(store, "_backend", None)
    if watch is None:
        pytest.skip("the asynchronous store gives no access to its backend")
    watched = watch.watch_tasks(refs)
    assert (watched.poll(), watched.size) == ([], 2)
    store.cancel_instance("i")
    clock.advance(10)
    assert store.prune(5) == 1
    add(store, "a", "b")  # later tasks with the same names, perhaps in the same rows
    assert (watched.poll(), watched.size) == ([], 0)


def test_many_tasks_are_read_in_the_order_of_their_ends(store: Any) -> None:
    refs = add(store, *(f"t{number:04}" for number in range(600)))
    claims = [one.claim for one in store.claim_available_tasks("w", 600, 60)]
    store.complete_tasks([(claim, b"") for claim in claims[300:]])
    assert names(store.wait_for_any(refs, 60)) == [f"t{number:04}" for number in range(300, 600)]
