"""``durable_map``: it yields results in the order of the inputs, stores them, and computes a result again only if
necessary."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, TaskFailedError
from sqlite_claims.workers import durable_map
from sqlite_claims.workers.durable import decode, encode

from .pool_runs import Pools, eventually, is_gone, pools

__all__ = ["pools"]


@pytest.fixture
def functions(pools: Pools) -> Any:
    assert pools  # the fixture has made the module importable
    return import_module("pool_handlers")


def test_results_come_in_the_order_of_the_items(pools: Pools, functions: Any) -> None:
    words = ["a", "bb", "ccc"] * 10
    assert list(durable_map(functions.count_bytes, words, path=pools.path, processes=2)) == [1, 2, 3] * 10
    assert pools.calls() == 30


def test_a_second_run_computes_nothing_and_starts_no_process(
    pools: Pools, functions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["a", "bb", "a"]
    assert list(durable_map(functions.count_bytes, words, path=pools.path, processes=1)) == [1, 2, 1]
    monkeypatch.setattr("subprocess.Popen", None)
    assert list(durable_map(functions.count_bytes, iter(words), path=pools.path, processes=1)) == [1, 2, 1]
    assert pools.calls() == 3


@pytest.mark.slow
def test_only_items_that_are_new_or_have_changed_are_computed(pools: Pools, functions: Any) -> None:
    assert list(durable_map(functions.count_bytes, ["a", "bb", "ccc"], path=pools.path, processes=1)) == [1, 2, 3]
    second = ["new at the start", "a", "changed", "ccc"]
    assert list(durable_map(functions.count_bytes, second, path=pools.path, processes=1)) == [16, 1, 7, 3]
    assert pools.calls() == 5


@pytest.mark.slow
def test_a_failed_item_raises_when_it_is_reached_and_the_next_run_tries_it_again(
    pools: Pools, functions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["a", "bad", "ccc"]
    monkeypatch.setenv("POOL_TEST_BAD", "bad")
    results = durable_map(functions.count_bytes, words, path=pools.path, processes=1)
    assert next(results) == 1
    with pytest.raises(TaskFailedError, match="item 1: ValueError: no good: bad"):
        next(results)
    monkeypatch.delenv("POOL_TEST_BAD")
    assert list(durable_map(functions.count_bytes, words, path=pools.path, processes=1)) == [1, 3, 3]
    assert 4 <= pools.calls() <= 5  # the third call may have started before the program left the first loop


@pytest.mark.slow
def test_an_error_is_tried_again_as_often_as_asked(
    pools: Pools, functions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOL_TEST_BAD", "bad")
    with pytest.raises(TaskFailedError, match="item 0"):
        list(durable_map(functions.count_bytes, ["bad"], path=pools.path, processes=1, retries=1))
    assert pools.calls() == 2


def test_items_and_results_are_bytes_or_what_json_makes_of_them(pools: Pools, functions: Any) -> None:
    items = [b"\0raw", "tëxt", 1.5, None, [1, {"a": True}], (1, 2)]
    assert list(durable_map(functions.as_json, items, path=pools.path, processes=1)) == [
        b"\0raw",
        {"type": "str", "value": "tëxt"},
        {"type": "float", "value": 1.5},
        {"type": "NoneType", "value": None},
        {"type": "list", "value": [1, {"a": True}]},
        {"type": "list", "value": [1, 2]},
    ]


def test_an_item_that_is_neither_is_refused_by_its_number(pools: Pools, functions: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="item 1 is neither JSON nor bytes"):
        list(durable_map(functions.count_bytes, ["a", {1, 2}], path=pools.path))


def test_a_result_that_is_neither_fails_its_item_without_retries(pools: Pools, functions: Any) -> None:
    with pytest.raises(TaskFailedError, match="item 0: the result is neither JSON nor bytes"):
        list(durable_map(functions.a_set, ["a"], path=pools.path, processes=1, retries=5))


def test_an_endless_generator_is_drawn_only_a_bounded_way_ahead(pools: Pools, functions: Any) -> None:
    drawn = 0

    def numbers() -> Iterator[str]:
        nonlocal drawn
        for drawn in itertools.count(1):
            yield "x" * (drawn % 7)

    results = durable_map(functions.count_bytes, numbers(), path=pools.path, processes=1)
    assert list(itertools.islice(results, 20)) == [n % 7 for n in range(1, 21)]
    assert drawn <= 1020
    results.close()  # type: ignore[attr-defined]
    assert list(pools.store.list_workers()) == []


def test_an_error_of_the_generator_comes_out_and_leaves_no_process(pools: Pools, functions: Any) -> None:
    def broken() -> Iterator[str]:
        yield "a"
        raise LookupError("the list ends here")

    with pytest.raises(LookupError):
        list(durable_map(functions.count_bytes, broken(), path=pools.path, processes=1))
    assert list(pools.store.list_workers()) == []


@pytest.mark.slow
def test_leaving_the_loop_gives_back_what_runs(pools: Pools, functions: Any) -> None:
    results = durable_map(functions.held_item, range(4), path=pools.path, processes=1)
    pools.open_gate()
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert list(pools.store.list_claims()) == []
    assert all(task.losses == 0 for task in pools.store.list_tasks())


def test_a_killed_program_goes_on_where_it_was(pools: Pools) -> None:
    program = pools.start("map")
    pids = {pools.hear()[1], pools.hear()[1]}
    program.send_signal(signal.SIGKILL)
    program.wait()
    pools.open_gate()
    eventually(lambda: all(is_gone(pid) for pid in pids))
    done = {task.task_id for task in pools.store.list_tasks() if task.output is not None}
    assert len(done) >= 2
    assert pools.finish(pools.start("map")) == (0, [0, 1, 2, 3])
    again = [task for task in pools.store.list_tasks() if task.task_id in done and task.attempts > 1]
    assert again == []


def test_a_function_that_cannot_be_imported_is_refused_before_anything_is_done(pools: Pools) -> None:
    with pytest.raises(InvalidArgumentError, match="func"):
        durable_map(lambda item: item, [1], path=pools.path)


def test_without_items_there_are_no_results(pools: Pools, functions: Any) -> None:
    assert list(durable_map(functions.count_bytes, [], path=pools.path)) == []


class Scalar:
    """A scalar like NumPy's: its shape is empty, and ``item()`` returns a Python number."""

    shape = ()

    def item(self) -> int:
        return 7


def test_numpy_scalars_are_numbers() -> None:
    assert decode(encode({"a": [Scalar(), Scalar()]})) == {"a": [7, 7]}
    assert decode(encode(Scalar())) == 7


@pytest.mark.parametrize("value", [{1}, object(), 1j])
def test_an_item_that_json_does_not_have_is_told_with_its_place_and_what_to_do(pools: Pools, value: object) -> None:
    functions: Any = import_module("pool_handlers")
    told = rf"item 1 is neither JSON nor bytes: JSON cannot represent {type(value).__name__}; convert it to str, int"
    with pytest.raises(InvalidArgumentError, match=told):
        list(durable_map(functions.count_bytes, ["a", value], path=pools.path, processes=1))


def test_an_item_that_is_nested_too_deeply_is_told_with_its_place(pools: Pools) -> None:
    functions: Any = import_module("pool_handlers")
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidArgumentError, match="item 0 is neither JSON nor bytes: it is nested too deeply"):
        list(durable_map(functions.count_bytes, [deep], path=pools.path, processes=1))
