"""``prune`` and ``check``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sqlite_claims import InstanceState, NewTask, NotFoundError
from sqlite_claims.testing import ManualClock


def complete(store: Any, instance_id: str) -> None:
    store.complete_task(store.claim_task(instance_id, "t", "w", 30), b"out")


def fail(store: Any, instance_id: str) -> None:
    store.fail_task(store.claim_task(instance_id, "t", "w", 30), "no", retry=False)


def cancel(store: Any, instance_id: str) -> None:
    store.cancel_instance(instance_id, "enough")


@pytest.mark.parametrize("end", [complete, fail, cancel])
@pytest.mark.parametrize("older_than", [60, 60.0, timedelta(minutes=1)])
def test_an_instance_that_ended_long_enough_ago_is_removed_with_its_tasks(
    store: Any, clock: ManualClock, end: Callable[[Any, str], None], older_than: Any
) -> None:
    store.add_instance("i", [NewTask("t", b"in"), NewTask("u", b"in", depends_on=["t"])][: 2 if end is fail else 1])
    clock.advance(1000)
    end(store, "i")
    clock.advance(59)
    assert store.prune(older_than) == 0
    assert store.get_instance("i").finished_at is not None
    clock.advance(2)
    assert store.prune(older_than) == 1
    with pytest.raises(NotFoundError):
        store.get_instance("i")
    with pytest.raises(NotFoundError):
        store.get_task("i", "t")
    assert list(store.list_tasks()) == list(store.list_instances()) == []
    assert sum(store.stats().counts.values()) == 0
    assert store.prune(older_than) == 0
    assert store.check() == []


def test_an_instance_that_has_not_ended_is_never_removed(store: Any, clock: ManualClock) -> None:
    store.add_instance("empty")
    store.add_instance("open", [NewTask("t")])
    store.add_instance("paused", [NewTask("t")])
    store.pause_instance("paused")
    store.add_instance("again", [NewTask("t")])
    complete(store, "again")
    store.add_tasks("again", [NewTask("u")])
    store.add_instance("retried", [NewTask("t")])
    fail(store, "retried")
    store.retry_task("retried", "t")
    clock.advance(10**8)
    assert store.prune(0) == 0
    assert len(list(store.list_instances())) == 5


def test_pruning_takes_a_bounded_number_a_call_and_the_oldest_end_first(store: Any, clock: ManualClock) -> None:
    for name in ("third", "first", "second"):
        store.add_instance(name, [NewTask("t")])
    for name in ("first", "second", "third"):
        clock.advance(1)
        complete(store, name)
    clock.advance(100)
    assert store.prune(50, limit=0) == 0
    assert store.prune(50, limit=1) == 1
    assert [info.instance_id for info in store.list_instances()] == ["third", "second"]
    assert store.prune(50, limit=1) == 1
    assert [info.instance_id for info in store.list_instances()] == ["third"]
    assert store.prune(50, limit=2**70) == 1


def test_pruning_takes_a_thousand_at_the_most_where_nothing_is_said(store: Any, clock: ManualClock) -> None:
    for n in range(1005):
        store.add_instance(f"i{n}")
        store.cancel_instance(f"i{n}")
    clock.advance(100)
    assert store.prune(50) == 1000
    assert store.prune(50) == 5


def test_large_instances_are_removed_whole(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask(f"t{n}", b"in") for n in range(2500)])
    store.cancel_instance("i")
    store.add_instance("kept", [NewTask("t")])
    clock.advance(100)
    assert store.prune(50) == 1
    assert [task.task_id for task in store.list_tasks()] == ["t"]
    assert store.check() == []


def test_a_pruned_instances_name_can_be_used_again(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t", b"old")], definition_hash="old")
    cancel(store, "i")
    clock.advance(100)
    store.prune(50)
    store.add_instance("i", [NewTask("t")], definition_hash="new")
    task = store.get_task("i", "t")
    assert (task.input, task.workflow_definition_hash, task.attempts) == (b"", "new", 0)
    assert store.get_instance("i").state is InstanceState.IN_PROGRESS
    assert store.get_instance("i").reason is None


def test_a_store_that_was_used_in_every_way_has_nothing_to_find_fault_with(store: Any, clock: ManualClock) -> None:
    assert store.check() == []
    store.add_instance("i", [NewTask("a"), NewTask("t"), NewTask("b", depends_on=["a"]), NewTask("c", delay=60)])
    store.add_instance("paused", [NewTask("t")])
    store.add_instance("cancelled", [NewTask("t")])
    store.claim_task("cancelled", "t", "w", None)
    store.pause_instance("paused")
    store.cancel_instance("cancelled")
    store.claim_task("i", "a", "w", 5)
    fail(store, "i")
    clock.advance(10)
    store.find_available_tasks("w", 5)
    assert store.check() == []


def test_closing_twice_is_closing_once(bench: Any) -> None:
    bench.store.close()
    bench.store.close()
