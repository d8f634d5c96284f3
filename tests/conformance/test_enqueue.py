"""``enqueue`` adds one task in an instance of its own."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from sqlite_claims import AlreadyExistsError, InvalidArgumentError, NewTask, NotFoundError, TaskRef


def test_enqueue_adds_an_instance_with_one_task(store: Any) -> None:
    ref = store.enqueue("mail", b"in", instance_id="i", priority=1, tags=["a"], metadata={"k": "v"}, timeout=5)
    assert ref == TaskRef("i", "task") == ("i", "task")
    found = store.get_task(*ref)
    assert (found.kind, found.input, found.priority, found.tags) == ("mail", b"in", 1, ("a",))
    assert (found.metadata, found.timeout) == ({"k": "v"}, 5.0)
    assert [info.task_id for info in store.list_tasks("i")] == ["task"]
    assert store.get_instance("i").definition_hash == ""


def test_enqueue_without_a_name_makes_a_new_uuid_of_version_7(store: Any) -> None:
    refs = [store.enqueue(None) for _ in range(3)]
    assert len({ref.instance_id for ref in refs}) == 3
    assert {uuid.UUID(ref.instance_id).version for ref in refs} == {7}
    assert {uuid.UUID(ref.instance_id).variant for ref in refs} == {uuid.RFC_4122}
    assert store.get_task(*refs[0]).kind == ""


def test_enqueue_refuses_a_name_that_is_taken(store: Any) -> None:
    store.enqueue("k", instance_id="i")
    with pytest.raises(AlreadyExistsError):
        store.enqueue("k", b"other", instance_id="i")
    assert store.enqueue("k", b"other", instance_id="i", if_exists="skip") == ("i", "task")
    assert store.get_task("i", "task").input == b""


def test_enqueue_with_skip_refuses_an_instance_without_such_a_task(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    with pytest.raises(AlreadyExistsError):
        store.enqueue("k", instance_id="i", if_exists="skip")


def test_enqueue_checks_its_options(store: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="depends_on"):
        store.enqueue("k", instance_id="i", depends_on=["a"])
    with pytest.raises(TypeError, match="colour"):
        store.enqueue("k", instance_id="i", colour="red")
    with pytest.raises(TypeError, match="task_id"):
        store.enqueue("k", instance_id="i", task_id="t")
    for wrong in ({"priority": 0}, {"if_exists": "no"}, {"instance_id": ""}, {"kind": "*"}, {"kind": ""}):
        with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
            store.enqueue(**{"kind": "k", "instance_id": "i"} | wrong)
    with pytest.raises(NotFoundError):
        store.get_instance("i")


def test_enqueue_within_a_transaction(store: Any) -> None:
    def undone() -> None:
        with store.transaction() as tx:
            assert tx.enqueue("k", instance_id="undone") == ("undone", "task")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    with store.transaction() as tx:
        ref = tx.enqueue("k", instance_id="done")
        assert tx.get_task(*ref).kind == "k"
    assert [info.instance_id for info in store.list_instances()] == ["done"]
