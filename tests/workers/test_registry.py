"""The registry chooses the handler of a task."""

from __future__ import annotations

from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError
from sqlite_claims.workers import TaskContext, TaskRegistry
from sqlite_claims.workers.registry import HandlerTable


def handler(task: TaskContext) -> None: ...


def other(task: TaskContext) -> None: ...


def test_the_registry_maps_a_kind_to_the_decorated_function() -> None:
    registry = TaskRegistry()
    decorated = registry.task("resize")(handler)
    assert dict(registry) == {"resize": decorated}
    assert HandlerTable(registry).find("resize") is handler


def test_a_second_handler_for_a_kind_is_refused() -> None:
    registry = TaskRegistry()
    registry.task("resize")(handler)
    with pytest.raises(InvalidArgumentError, match="'resize' has a handler already"):
        registry.task("resize")(other)


def test_without_a_default_handler_only_the_kinds_named_are_asked_for() -> None:
    table = HandlerTable({"a": handler, "b": other})
    assert table.kinds == frozenset("ab")
    assert table.find("b") is other
    assert table.find("c") is None
    assert table.find("") is None


def test_the_default_handler_takes_other_kinds_and_tasks_without_one() -> None:
    table = HandlerTable({"a": handler, "*": other})
    assert table.kinds is None
    assert table.find("a") is handler
    assert table.find("c") is other
    assert table.find("") is other


def test_one_callable_takes_everything() -> None:
    table = HandlerTable(handler)
    assert table.kinds is None
    assert table.find("anything") is handler


def test_handlers_registered_after_the_worker_was_made_do_not_change_it() -> None:
    registry = TaskRegistry()
    registry.task("a")(handler)
    table = HandlerTable(registry)
    registry.task("*")(other)
    assert table.kinds == frozenset("a")


@pytest.mark.parametrize("bad", [{}, TaskRegistry(), None, "module:attribute", {"a": "b"}, {"": 1}, {1: handler}])
def test_handlers_that_could_run_nothing_are_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="handler"):
        HandlerTable(bad)
