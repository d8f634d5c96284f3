"""The methods that read a store: lists, single records, counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sqlite_claims import InstanceState, NewTask, NotFoundError, TaskState
from sqlite_claims.sqlite.operations import reading
from sqlite_claims.testing import ManualClock


def test_a_missing_name_is_not_found(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    for ask in (
        lambda: store.get_task("i", "nothing"),
        lambda: store.get_task("nowhere", "t"),
        lambda: store.explain_task("i", "nothing"),
        lambda: store.explain_task("nowhere", "t"),
        lambda: store.get_instance("nowhere"),
        lambda: store.wait_for_instance("nowhere", 0),
        lambda: list(store.list_tasks("nowhere")),
        lambda: store.retry_task("i", "nothing"),
        lambda: store.retry_task("nowhere", "t"),
    ):
        with pytest.raises(NotFoundError):
            ask()


# -- lists


@pytest.fixture
def some(store: Any) -> Any:
    """Add three instances: one with two tasks in progress, one completed, one paused."""
    store.add_instance("z", [NewTask("b", kind="x"), NewTask("a", kind="y")])
    store.add_instance("done", [NewTask("t", kind="x")])
    store.add_instance("paused", [NewTask("u")])
    store.complete_task(store.claim_task("done", "t", "w", 30))
    store.pause_instance("paused")
    return store


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, ["z", "done", "paused"]),
        ({"limit": 2}, ["z", "done"]),
        ({"limit": 0}, []),
        ({"limit": 2**70}, ["z", "done", "paused"]),
        ({"states": [InstanceState.PAUSED, InstanceState.COMPLETED]}, ["done", "paused"]),
        ({"states": {"in_progress"}}, ["z"]),
        ({"states": []}, []),
        ({"states": [InstanceState.COMPLETED, InstanceState.IN_PROGRESS], "limit": 1}, ["z"]),
        ({"states": [InstanceState.CANCELLED]}, []),
    ],
)
def test_instances_are_listed_in_the_order_of_adding(some: Any, wanted: dict[str, Any], names: list[str]) -> None:
    listed = some.list_instances(**wanted)
    assert isinstance(listed, Iterator)
    found = list(listed)
    assert [info.instance_id for info in found] == names
    assert found == [some.get_instance(name) for name in names]


@pytest.mark.parametrize(
    ("instance_id", "wanted", "names"),
    [
        (None, {}, ["b", "a", "t", "u"]),
        ("z", {}, ["a", "b"]),
        ("done", {}, ["t"]),
        (None, {"limit": 3}, ["b", "a", "t"]),
        ("z", {"limit": 1}, ["a"]),
        (None, {"states": [TaskState.READY]}, ["b", "a", "u"]),
        (None, {"states": ["completed", "failed"]}, ["t"]),
        (None, {"states": []}, []),
        (None, {"kinds": ["x"]}, ["b", "t"]),
        (None, {"kinds": [""]}, ["u"]),
        (None, {"kinds": []}, []),
        ("z", {"kinds": ["y", ""], "states": [TaskState.READY]}, ["a"]),
        (None, {"kinds": ["x"], "states": [TaskState.READY, TaskState.COMPLETED], "limit": 1}, ["b"]),
    ],
)
def test_tasks_are_listed_by_name_in_an_instance_and_else_in_the_order_of_adding(
    some: Any, instance_id: str | None, wanted: dict[str, Any], names: list[str]
) -> None:
    listed = some.list_tasks(instance_id, **wanted)
    assert isinstance(listed, Iterator)
    found = list(listed)
    assert [task.task_id for task in found] == names
    assert found == [some.get_task(task.instance_id, task.task_id) for task in found]


def test_claimed_and_failed_tasks_are_listed_in_the_order_of_adding(store: Any) -> None:
    names = [f"t{n:04}" for n in range(1600)]
    for half, instance_id in enumerate(("z", "a")):
        mine = names[800 * half : 800 * (half + 1)]
        store.add_instance(
            instance_id, [NewTask(name, priority=n % 5 + 1, kind=f"k{n % 3}") for n, name in enumerate(mine)]
        )
    claims = sorted((each.claim for each in store.claim_available_tasks("w", 1590, 30)), key=lambda one: one.task_id)
    for way in range(3):  # some tasks fail permanently, some are retried, some stay claimed
        chosen = [claim for n, claim in enumerate(claims) if n % 3 == way]
        if way == 0:
            for claim in chosen:
                store.fail_task(claim, "no", retry=False)
        elif way == 1:
            store.fail_tasks([(claim, "not yet") for claim in chosen])
    store.pause_instance("a")

    def listed(state: TaskState, **wanted: Any) -> list[str]:
        found = list(store.list_tasks(states=[state], **wanted))
        assert {task.state for task in found} <= {state}
        return [task.task_id for task in found]

    for place, state in ((0, TaskState.FAILED), (2, TaskState.CLAIMED)):
        expected = [claim.task_id for claim in claims[place::3]]
        assert listed(state) == expected
        assert listed(state, limit=510) == expected[:510]
        of_kind = [name for name in expected if int(name[1:]) % 800 % 3 == 1]
        assert listed(state, kinds=["k1"]) == of_kind
    store.cancel_instance("z")
    assert listed(TaskState.CLAIMED) == [claim.task_id for claim in claims[2::3] if claim.instance_id == "a"]
    assert len(listed(TaskState.FAILED)) == len(claims[0::3])


def test_ready_and_scheduled_are_told_apart_by_time(store: Any, clock: ManualClock) -> None:
    day = datetime.fromtimestamp(clock.wall_us() / 1e6 + 20, UTC)
    store.add_instance("i", [NewTask("a"), NewTask("b", delay=10), NewTask("c", available_at=day)])

    def named(state: str) -> list[str]:
        return [task.task_id for task in store.list_tasks(states=[state])]

    assert (named("ready"), named("scheduled")) == (["a"], ["b", "c"])
    clock.advance(10)
    assert (named("ready"), named("scheduled")) == (["a", "b"], ["c"])
    clock.advance(10)
    assert (named("ready"), named("scheduled")) == (["a", "b", "c"], [])


def test_a_cancelled_instances_tasks_are_listed_as_cancelled_at_once(store: Any) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b", depends_on=["a"]), NewTask("c", delay=10)])
    store.cancel_instance("i")
    assert [task.task_id for task in store.list_tasks(states=["cancelled"])] == ["a", "b", "c"]
    assert list(store.list_tasks(states=["ready", "blocked", "scheduled", "claimed"])) == []


def test_long_lists_come_whole_and_let_others_write_meanwhile(bench: Any) -> None:
    names = [f"t{n:04}" for n in range(2500)]
    bench.store.add_instance("i", [NewTask(name) for name in reversed(names)])
    for n in range(1200):
        bench.store.add_instance(f"more{n}")
    other = bench.open()
    tasks, instances = bench.store.list_tasks("i"), bench.store.list_instances()
    found = [next(tasks).task_id]
    assert next(instances).instance_id == "i"
    other.complete_task(other.claim_task("i", names[-1], "w", 30))
    other.cancel_instance("i")
    found += [task.task_id for task in tasks]
    assert found == names
    assert len(list(instances)) == 1200
    assert [task.task_id for task in bench.store.list_tasks()] == names[::-1]
    if other is not bench.store:
        other.close()


def test_a_task_that_disappears_while_a_list_is_read_is_left_out_or_was_returned_before(
    store: Any, clock: ManualClock
) -> None:
    for n in range(1500):
        store.add_instance(f"i{n}")
        store.cancel_instance(f"i{n}")
    clock.advance(60)
    listed = store.list_instances()
    first = next(listed)
    assert first.instance_id == "i0"
    assert store.prune(30, limit=10_000) == 1500
    rest = [info.instance_id for info in listed]
    assert rest == [f"i{n}" for n in range(1, len(rest) + 1)]
    assert list(store.list_instances()) == []


def test_claims_are_listed_expired_ones_too(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b"), NewTask("c"), NewTask("d", max_lost=1), NewTask("e")])
    claims = {name: store.claim_task("i", name, worker, ttl) for name, worker, ttl in
              (("a", "w", 30), ("b", "w", 5), ("c", "v", None), ("d", "v", 5))}  # fmt: skip
    clock.advance(10)
    store.pause_instance("i")

    def listed(*worker_id: str) -> dict[str, Any]:
        return {claim.task_id: claim for claim in store.list_claims(*worker_id)}

    assert listed() == claims
    assert {name: claim.remaining() for name, claim in listed().items()} == {"a": 20, "b": 0, "c": None, "d": 0}
    assert listed("w") == {"a": claims["a"], "b": claims["b"]}
    assert listed("nobody") == {}
    store.release_task(listed()["a"])
    assert sorted(listed()) == ["b", "c", "d"]
    store.cancel_instance("i")
    assert listed() == {}


# -- statistics


def test_an_empty_store_has_nothing_to_count(store: Any) -> None:
    stats = store.stats()
    assert (stats.counts, stats.live_claims, stats.oldest_ready_age) == (dict.fromkeys(TaskState, 0), 0, None)


def test_live_claims_are_those_that_have_not_expired(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask(name) for name in "abcd"])
    store.claim_task("i", "a", "w", None)
    store.claim_task("i", "b", "w", 10)
    store.claim_task("i", "c", "w", 20)
    assert store.stats().live_claims == 3
    clock.advance(10)
    assert store.stats().live_claims == 2
    assert store.stats().counts[TaskState.CLAIMED] == 3
    clock.advance(10)
    assert store.stats().live_claims == 1


def test_the_oldest_age_is_that_of_what_could_be_claimed_now(store: Any, clock: ManualClock) -> None:
    def age() -> Any:
        return store.stats().oldest_ready_age

    store.add_instance("i", [NewTask("delayed", delay=10), NewTask("blocked", depends_on=["delayed"])])
    assert age() is None
    clock.advance(15)
    assert age() == 5
    store.add_tasks("i", [NewTask("new", priority=1)])
    assert age() == 5
    claim = store.claim_task("i", "delayed", "w", 30)
    clock.advance(1)
    assert age() == 1
    store.pause_instance("i")
    assert age() is None
    store.resume_instance("i")
    assert age() == 1
    store.release_task(claim)
    assert age() == 6


def test_an_expired_claims_task_could_be_claimed_so_it_counts_as_waiting(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("last", max_lost=1)])
    store.claim_task("i", "t", "w", 10)
    store.claim_task("i", "last", "w", 5)
    clock.advance(13)
    assert store.stats().oldest_ready_age == 3


def test_an_instance_all_of_whose_tasks_wait_for_the_calendar_is_counted(
    store: Any, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_COUNT_OWN_MAX", 0)  # simulates an instance of many thousand tasks
    later = datetime.fromtimestamp(clock.wall_us() / 1e6, UTC) + timedelta(hours=1)
    store.add_instance("later", [NewTask("a", available_at=later), NewTask("b", available_at=later)])
    assert store.get_instance("later").counts[TaskState.SCHEDULED] == 2
