"""Dependencies: blocked and unblocked tasks, and the end of instances."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlite_claims import InstanceState, NewTask, TaskState
from sqlite_claims.testing import ManualClock

Offered = Callable[..., list[str]]


def complete(store: Any, task_id: str, output: bytes = b"") -> None:
    store.complete_task(store.claim_task("i", task_id, "w", 30), output)


def fail(store: Any, task_id: str) -> None:
    store.fail_task(store.claim_task("i", task_id, "w", 30), "no", retry=False)


def states(store: Any) -> dict[str, TaskState]:
    return {task.task_id: task.state for task in store.list_tasks("i")}


def test_a_task_is_blocked_until_all_that_it_depends_on_is_completed(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b"), NewTask("t", depends_on=["a", "b"])])
    assert states(store)["t"] is TaskState.BLOCKED
    complete(store, "a")
    assert states(store)["t"] is TaskState.BLOCKED
    claim = store.claim_task("i", "b", "w", 30)
    store.fail_task(claim, "not yet", retry_in=0)
    assert states(store)["t"] is TaskState.BLOCKED
    complete(store, "b")
    assert states(store)["t"] is TaskState.READY
    assert offered() == ["t"]


def test_a_dependency_named_twice_is_one(store: Any) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("t", depends_on=["a", "a"])])
    assert store.get_task("i", "t").depends_on == ("a",)
    complete(store, "a", b"out")
    assert store.get_task("i", "t").input == b"out"
    complete(store, "t")


def test_a_delay_counts_from_when_the_dependencies_are_met(store: Any, clock: ManualClock, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("t", depends_on=["a"], delay=10)])
    clock.advance(100)
    complete(store, "a")
    assert states(store)["t"] is TaskState.SCHEDULED
    clock.advance(9)
    assert offered() == []
    clock.advance(1)
    assert offered() == ["t"]


def test_a_time_of_day_is_waited_for_after_the_dependencies_and_may_have_passed_by_then(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    at = datetime.fromtimestamp(clock.wall_us() / 1e6, UTC) + timedelta(seconds=50)
    after = [NewTask("t", depends_on=["a"], available_at=at), NewTask("u", depends_on=["b"], available_at=at)]
    store.add_instance("i", [NewTask("a"), NewTask("b"), *after])
    complete(store, "a")
    assert states(store)["t"] is TaskState.SCHEDULED
    clock.advance(60)
    assert states(store) == {"a": "completed", "b": "ready", "t": "ready", "u": "blocked"}
    complete(store, "b")
    assert states(store)["u"] is TaskState.READY
    clock.advance(1)
    store.add_tasks("i", [NewTask("v")])
    assert offered() == ["t", "u", "v"]


def test_a_dependency_that_is_completed_already_counts_as_met(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b")])
    complete(store, "a", b"from a")
    store.add_tasks("i", [NewTask("t", depends_on=["a"]), NewTask("u", depends_on=["a", "b"])])
    assert states(store) == {"a": "completed", "b": "ready", "t": "ready", "u": "blocked"}
    assert store.get_task("i", "t").input == b"from a"
    complete(store, "b")
    assert offered() == ["t", "u"]


def test_an_input_comes_from_the_one_dependency_where_the_task_gave_none(store: Any) -> None:
    store.add_instance(
        "i",
        [
            NewTask("a"),
            NewTask("b"),
            NewTask("one", depends_on=["a"]),
            NewTask("own", b"own", depends_on=["a"]),
            NewTask("own empty", b"", depends_on=["a"]),
            NewTask("two", depends_on=["a", "b"]),
            NewTask("none"),
        ],
    )
    assert store.get_task("i", "one").input == b""
    complete(store, "a", b"A")
    complete(store, "b", b"B")
    inputs = {"one": b"A", "own": b"own", "own empty": b"", "two": b"", "none": b""}
    assert {task.task_id: task.input for task in store.find_available_tasks("w", 10)} == inputs
    assert {name: store.get_task("i", name).input for name in inputs} == inputs
    assert {one.task.task_id: one.task.input for one in store.claim_available_tasks("w", 10)} == inputs


def test_a_failed_task_cancels_all_that_depends_on_it_and_nothing_else(store: Any, clock: ManualClock) -> None:
    store.add_instance(
        "i",
        [
            NewTask("a"),
            NewTask("b"),
            NewTask("a1", depends_on=["a"]),
            NewTask("a2", depends_on=["a1"]),
            NewTask("both", depends_on=["a2", "b"]),
            NewTask("b1", depends_on=["b"]),
        ],
    )
    clock.advance(5)
    fail(store, "a")
    assert states(store) == {
        "a": "failed", "a1": "cancelled", "a2": "cancelled", "b": "ready", "b1": "blocked", "both": "cancelled",
    }  # fmt: skip
    cancelled = store.get_task("i", "a2")
    assert cancelled.error is None
    assert cancelled.finished_at - cancelled.added_at == timedelta(seconds=5)
    assert store.get_instance("i").state is InstanceState.IN_PROGRESS
    complete(store, "b")
    assert states(store)["b1"] is TaskState.READY
    assert states(store)["both"] is TaskState.CANCELLED
    complete(store, "b1")
    assert store.get_instance("i").state is InstanceState.FAILED


def test_a_long_chain_is_cancelled_to_its_end(store: Any) -> None:
    chain = [NewTask("t0"), *(NewTask(f"t{n}", depends_on=[f"t{n - 1}"]) for n in range(1, 1500))]
    store.add_instance("i", chain)
    fail(store, "t0")
    assert store.get_instance("i").counts[TaskState.CANCELLED] == 1499
    assert store.get_instance("i").state is InstanceState.FAILED
    store.retry_task("i", "t0")
    assert store.get_instance("i").counts[TaskState.BLOCKED] == 1499


def test_many_dependents_are_unblocked_at_once_in_the_order_of_adding(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a"), *(NewTask(f"t{n}", depends_on=["a"]) for n in range(1200))])
    complete(store, "a")
    assert offered("w", 2000) == [f"t{n}" for n in range(1200)]


def test_an_instance_is_completed_when_all_its_tasks_are(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b", depends_on=["a"])])
    complete(store, "a")
    assert store.get_instance("i").state is InstanceState.IN_PROGRESS
    clock.advance(5)
    complete(store, "b")
    ended = store.get_instance("i")
    assert ended.state is InstanceState.COMPLETED
    assert ended.finished_at - ended.added_at == timedelta(seconds=5)


def test_an_instance_is_failed_only_when_nothing_can_run_any_more(store: Any) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b")])
    claim = store.claim_task("i", "b", "w", 30)
    fail(store, "a")
    assert store.get_instance("i").state is InstanceState.IN_PROGRESS
    assert store.get_instance("i").finished_at is None
    store.fail_task(claim, "later", retry_in=100)
    assert store.get_instance("i").state is InstanceState.IN_PROGRESS


def test_counts_tell_how_many_tasks_are_in_each_state(store: Any, clock: ManualClock) -> None:
    store.add_instance(
        "i",
        [
            NewTask("done"),
            NewTask("failed"),
            NewTask("cancelled", depends_on=["failed"]),
            NewTask("held"),
            NewTask("blocked", depends_on=["held"]),
            NewTask("ready"),
            NewTask("later", delay=60),
            NewTask("day", available_at=datetime.fromtimestamp(clock.wall_us() / 1e6 + 60, UTC)),
        ],
    )
    complete(store, "done")
    fail(store, "failed")
    store.claim_task("i", "held", "w", 30)
    counts = {
        "blocked": 1, "scheduled": 2, "ready": 1, "claimed": 1, "completed": 1, "failed": 1, "cancelled": 1,
    }  # fmt: skip
    assert store.get_instance("i").counts == counts
    assert store.stats().counts == counts
    clock.advance(60)
    later = counts | {"scheduled": 0, "ready": 3}
    assert store.get_instance("i").counts == later
    assert store.stats().counts == later


# -- retrying tasks and instances


def test_tasks_cancelled_because_of_a_failed_task_return_with_its_retry(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b", depends_on=["a"]), NewTask("c", depends_on=["b"])])
    fail(store, "a")
    assert store.get_instance("i").state is InstanceState.FAILED
    store.retry_task("i", "a")
    assert states(store) == {"a": "ready", "b": "blocked", "c": "blocked"}
    assert store.get_task("i", "b").finished_at is None
    again = store.get_instance("i")
    assert (again.state, again.finished_at) == (InstanceState.IN_PROGRESS, None)
    for name in "abc":
        assert offered() == [name]
        complete(store, name)
    assert store.get_instance("i").state is InstanceState.COMPLETED


def test_a_task_that_needs_another_failed_task_does_not_return(store: Any) -> None:
    store.add_instance(
        "i",
        [
            NewTask("a"),
            NewTask("b"),
            NewTask("a only", depends_on=["a"]),
            NewTask("both", depends_on=["a", "b"]),
            NewTask("behind both", depends_on=["both", "a"]),
        ],
    )
    fail(store, "a")
    fail(store, "b")
    store.retry_task("i", "a")
    assert states(store) == {
        "a": "ready", "a only": "blocked", "b": "failed", "behind both": "cancelled", "both": "cancelled",
    }  # fmt: skip
    store.retry_task("i", "b")
    assert states(store)["both"] is states(store)["behind both"] is TaskState.BLOCKED


def test_a_retried_task_whose_other_dependents_had_been_met_blocks_only_what_it_must(store: Any) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b"), NewTask("both", depends_on=["a", "b"])])
    complete(store, "b", b"B")
    fail(store, "a")
    store.retry_task("i", "a")
    complete(store, "a")
    assert states(store)["both"] is TaskState.READY


def test_in_a_paused_instance_a_task_can_be_retried_and_waits_for_the_resume(
    store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b", depends_on=["a"]), NewTask("other")])
    fail(store, "a")
    store.pause_instance("i")
    clock.advance(1)
    store.retry_task("i", "a")
    assert store.get_instance("i").state is InstanceState.PAUSED
    assert offered() == []
    store.resume_instance("i")
    assert offered() == ["other", "a"]
    complete(store, "a")
    assert offered() == ["other", "b"]


def test_a_task_that_returns_keeps_its_position_among_equals(store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("b", depends_on=["a"]), NewTask("a"), NewTask("c", depends_on=["a"])])
    fail(store, "a")
    store.retry_task("i", "a")
    complete(store, "a")
    assert offered() == ["b", "c"]
