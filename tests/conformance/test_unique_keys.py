"""At most one open task of a store has a unique key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sqlite_claims import AlreadyExistsError, InvalidArgumentError, NewTask, NotFoundError, TaskState
from sqlite_claims.testing import ManualClock


def keyed(task_id: str = "t", key: str = "key", **options: Any) -> NewTask:
    return NewTask(task_id, unique_key=key, **options)


def names(store: Any, instance_id: str) -> list[str]:
    return [info.task_id for info in store.list_tasks(instance_id)]


def end(store: Any, instance_id: str = "i", task_id: str = "t") -> None:
    store.complete_task(store.claim_task(instance_id, task_id, "w", 60))


def test_a_second_task_with_the_key_is_refused(store: Any) -> None:
    store.add_instance("i", [keyed()])
    store.add_instance("other", [NewTask("t")])
    adds: list[Callable[[], Any]] = [
        lambda: store.add_instance("j", [NewTask("a"), keyed("b")]),
        lambda: store.add_tasks("other", [NewTask("a"), keyed("b")]),
        lambda: store.enqueue("k", unique_key="key"),
    ]
    for add in adds:
        with pytest.raises(AlreadyExistsError) as caught:
            add()
        assert (caught.value.instance_id, caught.value.task_id) == ("i", "t")
    assert [info.instance_id for info in store.list_instances()] == ["i", "other"]
    assert names(store, "other") == ["t"]
    store.enqueue("k", unique_key="another")


@pytest.mark.parametrize("state", ["blocked", "scheduled", "ready", "claimed", "paused"])
def test_an_open_task_has_its_key(store: Any, state: str) -> None:
    task = keyed(depends_on=["before"] if state == "blocked" else (), delay=60 if state == "scheduled" else None)
    store.add_instance("i", [NewTask("before"), task])
    if state == "claimed":
        store.claim_task("i", "t", "w", 0)
    if state == "paused":
        store.pause_instance("i")
    with pytest.raises(AlreadyExistsError):
        store.enqueue("k", unique_key="key")


@pytest.mark.parametrize("how", ["completed", "failed", "dependency failed", "cancelled", "expired", "pruned"])
def test_the_key_is_free_when_its_task_has_ended(store: Any, clock: ManualClock, how: str) -> None:
    at = datetime.fromtimestamp(clock.wall_us() / 1e6, UTC) + timedelta(seconds=5)
    before = [NewTask("before", priority=1)]
    store.add_instance("i", [*before, keyed(depends_on=["before"], expires_at=at if how == "expired" else None)])
    with pytest.raises(AlreadyExistsError):
        store.enqueue("k", unique_key="key")
    if how == "cancelled":
        store.cancel_instance("i")
    elif how == "expired":
        clock.advance(5)
    else:
        claim = store.claim_task("i", "before", "w", 60)
        if how == "dependency failed":
            store.fail_task(claim, "broke", retry=False)
        else:
            store.complete_task(claim)
            claim = store.claim_task("i", "t", "w", 60)
            if how == "failed":
                store.fail_task(claim, "broke", retry=False)
            else:
                store.complete_task(claim)
    if how == "pruned":
        clock.advance(10)
        assert store.prune(1) == 1
        # The id of the deleted task may be used again for a task without a key.
        store.add_instance("j", [NewTask("a"), NewTask("b"), NewTask("c")])
    ref = store.enqueue("k", unique_key="key")
    assert store.get_task(*ref).unique_key == "key"
    with pytest.raises(AlreadyExistsError) as caught:
        store.enqueue("k", unique_key="key")
    assert (caught.value.instance_id, caught.value.task_id) == ref


def test_skip_leaves_out_a_task_whose_key_is_taken(store: Any) -> None:
    store.add_instance("i", [keyed()])
    assert store.add_instance("j", [keyed("a"), NewTask("b")], if_exists="skip") is True
    assert names(store, "j") == ["b"]
    assert store.add_tasks("j", [keyed("c"), NewTask("d"), NewTask("b")], if_exists="skip") == 1
    assert names(store, "j") == ["b", "d"]
    assert store.add_tasks("j", [keyed("c")], if_exists="skip") == 0


def test_an_instance_of_which_every_task_is_left_out_is_not_added(store: Any) -> None:
    store.add_instance("i", [keyed()])
    assert store.add_instance("j", [keyed("a"), keyed("b")], if_exists="skip") is False
    with pytest.raises(NotFoundError):
        store.get_instance("j")
    assert store.add_instance("j", [], if_exists="skip") is True


def test_a_task_that_depends_on_one_that_was_left_out_is_refused(store: Any) -> None:
    store.add_instance("i", [keyed(), NewTask("stays")])
    with pytest.raises(InvalidArgumentError, match="'b'"):
        store.add_instance("j", [keyed("a"), NewTask("b", depends_on=["a"])], if_exists="skip")
    with pytest.raises(InvalidArgumentError, match="'b'"):
        store.add_tasks("i", [keyed("a"), NewTask("b", depends_on=["a"])], if_exists="skip")
    assert store.add_tasks("i", [keyed("t"), NewTask("b", depends_on=["t"])], if_exists="skip") == 1
    assert [info.instance_id for info in store.list_instances()] == ["i"]


def test_twice_in_one_call_counts_as_twice_in_the_store(store: Any) -> None:
    with pytest.raises(AlreadyExistsError) as caught:
        store.add_instance("i", [keyed("a"), keyed("b")])
    assert (caught.value.instance_id, caught.value.task_id) == ("i", "a")
    assert store.add_instance("i", [keyed("a"), keyed("b"), keyed("c", "other")], if_exists="skip") is True
    assert names(store, "i") == ["a", "c"]


def test_enqueue_with_skip_gives_the_task_of_the_instance_or_else_the_one_with_the_key(store: Any) -> None:
    first = store.enqueue("k", b"first", unique_key="key", if_exists="skip")
    assert store.enqueue("k", b"second", unique_key="key", if_exists="skip") == first
    store.enqueue("k", instance_id="i", unique_key="other")
    assert store.enqueue("k", instance_id="i", unique_key="key", if_exists="skip") == ("i", "task")
    assert [task.input for task in store.find_available_tasks("w", 10)] == [b"first", b""]


def test_a_retry_is_refused_while_another_task_has_the_key(store: Any) -> None:
    store.add_instance("i", [keyed(), NewTask("after", depends_on=["t"])])
    store.fail_task(store.claim_task("i", "t", "w", 60), "broke", retry=False)
    store.add_instance("j", [keyed()])
    with pytest.raises(AlreadyExistsError) as caught:
        store.retry_task("i", "t")
    assert (caught.value.instance_id, caught.value.task_id) == ("j", "t")
    assert (store.get_task("i", "t").state, store.get_task("i", "after").state) == (
        TaskState.FAILED,
        TaskState.CANCELLED,
    )
    end(store, "j")
    store.retry_task("i", "t")
    with pytest.raises(AlreadyExistsError):
        store.add_tasks("j", [keyed("again")])


def test_a_retry_is_refused_while_another_task_has_the_key_of_a_dependent(store: Any) -> None:
    store.add_instance("i", [NewTask("t"), keyed("after", depends_on=["t"])])
    store.fail_task(store.claim_task("i", "t", "w", 60), "broke", retry=False)
    store.add_instance("j", [keyed()])
    with pytest.raises(AlreadyExistsError) as caught:
        store.retry_task("i", "t")
    assert (caught.value.instance_id, caught.value.task_id) == ("j", "t")
    assert (store.get_task("i", "t").state, store.get_task("i", "after").state) == (
        TaskState.FAILED,
        TaskState.CANCELLED,
    )
    end(store, "j")
    store.retry_task("i", "t")
    assert store.get_task("i", "after").state is TaskState.BLOCKED
    with pytest.raises(AlreadyExistsError):
        store.add_tasks("i", [keyed("again")])


def test_a_retry_takes_the_key_of_a_task_that_has_expired(store: Any, clock: ManualClock) -> None:
    at = datetime.fromtimestamp(clock.wall_us() / 1e6, UTC) + timedelta(seconds=5)
    store.add_instance("i", [keyed()])
    store.fail_task(store.claim_task("i", "t", "w", 60), "broke", retry=False)
    store.add_tasks("i", [keyed("u", expires_at=at)])
    store.pause_instance("i")
    clock.advance(5)
    store.retry_task("i", "t")
    assert (store.get_task("i", "u").state, store.get_task("i", "u").error) == (TaskState.CANCELLED, "expired")
    assert store.get_instance("i").state == "paused"
    with pytest.raises(AlreadyExistsError):
        store.add_tasks("i", [keyed("again")])


def test_keys_within_a_transaction(store: Any) -> None:
    with store.transaction() as tx:
        tx.enqueue("k", instance_id="i", unique_key="key")
        with pytest.raises(AlreadyExistsError):
            tx.add_instance("j", [NewTask("a"), keyed("b")])
        tx.complete_task(tx.claim_task("i", "task", "w", 60))
        assert tx.enqueue("k", instance_id="j", unique_key="key", if_exists="skip") == ("j", "task")
    assert store.check() == []
