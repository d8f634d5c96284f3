"""A ``TaskBatch`` adds many tasks with the same options."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sqlite_claims import AlreadyExistsError, InvalidArgumentError, NewTask, RetryPolicy, TaskBatch
from sqlite_claims.testing import ManualClock


def test_the_tasks_of_a_batch_are_those_of_a_list(store: Any, clock: ManualClock) -> None:
    at = datetime.fromtimestamp(clock.wall_us() / 1e6, UTC) + timedelta(seconds=5)
    many: list[dict[str, Any]] = [
        {},
        {"kind": "k", "tags": ["b", "a"], "priority": 2, "delay": 3, "max_attempts": 7, "max_lost": 2},
        {"available_at": at, "retry": RetryPolicy(5.0), "metadata": {"a": "b"}, "timeout": 4, "limit": "x:1"},
        {"expires_at": at},
    ]
    names, inputs = ["c", "a", "b"], [b"one", None, b""]
    for number, options in enumerate(many):
        listed = [NewTask(name, data, **options) for name, data in zip(names, inputs, strict=True)]
        assert store.add_instance(f"list{number}", listed, definition_hash="h") is True
        assert store.add_instance(f"batch{number}", TaskBatch(names, inputs, **options), definition_hash="h") is True
        assert [shown(info) for info in store.list_tasks(f"list{number}")] == [
            shown(info) for info in store.list_tasks(f"batch{number}")
        ]
    assert store.get_instance("batch0").counts == store.get_instance("list0").counts
    assert [task.task_id for task in store.find_available_tasks("w", 100, kinds=[""])][:6] == [*names, *names]
    assert store.check() == []


def shown(info: Any) -> Any:
    return {name: getattr(info, name) for name in info.__slots__ if name != "instance_id"}


def test_a_batch_is_added_to_a_stored_instance(store: Any) -> None:
    store.add_instance("i", [NewTask("a")])
    store.pause_instance("i")
    with pytest.raises(AlreadyExistsError) as caught:
        store.add_tasks("i", TaskBatch(["b", "a"]))
    assert caught.value.task_id == "a"
    assert store.add_tasks("i", TaskBatch(["b", "a", "c"], [b"1", b"2", b"3"]), if_exists="skip") == 2
    assert [(info.task_id, info.input) for info in store.list_tasks("i")] == [("a", b""), ("b", b"1"), ("c", b"3")]
    assert store.find_available_tasks("w", 10) == []
    store.resume_instance("i")
    assert [task.task_id for task in store.find_available_tasks("w", 10)] == ["a", "b", "c"]
    assert store.add_tasks("i", TaskBatch([])) == 0
    assert store.add_instance("empty", TaskBatch(())) is True


def test_a_batch_may_depend_on_stored_tasks_and_one_task_may_have_a_key(store: Any) -> None:
    store.add_instance("i", [NewTask("a")])
    assert store.add_tasks("i", TaskBatch(["b", "c"], depends_on=["a"])) == 2
    assert [info.depends_on for info in store.list_tasks("i")] == [(), ("a",), ("a",)]
    assert store.add_tasks("i", TaskBatch(["d"], unique_key="key")) == 1
    with pytest.raises(AlreadyExistsError):
        store.add_instance("j", TaskBatch(["d"], unique_key="key"))
    with pytest.raises(InvalidArgumentError):
        store.add_instance("j", TaskBatch(["d"], depends_on=["a"]))


def test_a_batch_within_a_transaction(store: Any) -> None:
    with store.transaction() as tx:
        tx.add_instance("i", TaskBatch(["a", "b"]))
        assert tx.add_tasks("i", TaskBatch(["c"])) == 1
    assert len(list(store.list_tasks("i"))) == 3


WRONG: dict[str, Callable[[], Any]] = {
    "one input too few": lambda: TaskBatch(["a", "b"], [b""]),
    "one input too many": lambda: TaskBatch(["a"], [b"", b""]),
    "a name twice": lambda: TaskBatch(["a", "b", "a"]),
    "a bad name": lambda: TaskBatch(["a", ""]),
    "a str": lambda: TaskBatch("ab"),
    "no sequence": lambda: TaskBatch({"a"}),  # type: ignore[arg-type]
    "bytes as inputs": lambda: TaskBatch(["a"], b"a"),  # type: ignore[arg-type]
    "a bad input": lambda: TaskBatch(["a"], ["text"]),  # type: ignore[list-item]
    "a bad option": lambda: TaskBatch(["a"], priority=9),
    "a bad option of no task": lambda: TaskBatch([], priority=9),
    "a key for several tasks": lambda: TaskBatch(["a", "b"], unique_key="key"),
    "a dependency within the batch": lambda: TaskBatch(["a", "b"], depends_on=["b"]),
    "too many": lambda: TaskBatch([str(number) for number in range(100_001)]),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_batch_is_refused(what: str) -> None:
    with pytest.raises(InvalidArgumentError):
        WRONG[what]()


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        TaskBatch(["a"], colour="red")


def test_a_batch_is_a_sequence_of_new_tasks() -> None:
    batch = TaskBatch(["a", "b"], [b"1", None], priority=2)
    assert list(batch) == [NewTask("a", b"1", priority=2), NewTask("b", priority=2)]
    assert (len(batch), batch[-1].task_id, batch[1:]) == (2, "b", [NewTask("b", priority=2)])
    assert repr(batch) == "TaskBatch of 2 tasks"
