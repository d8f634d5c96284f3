"""Tags and kinds decide which tasks a worker is offered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import NewTask

Offered = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def tasks(store: Any) -> None:
    store.add_instance(
        "i",
        [
            NewTask("plain"),
            NewTask("a", tags=["a"]),
            NewTask("ab", tags=["b", "a"]),
            NewTask("x", kind="x"),
            NewTask("xb", kind="x", tags=["b"]),
            NewTask("y", kind="y"),
        ],
    )


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        (None, ["plain", "a", "ab", "x", "xb", "y"]),
        ([], ["plain", "a", "ab", "x", "xb", "y"]),
        (["a"], ["plain", "a", "x", "y"]),
        (["b"], ["plain", "x", "xb", "y"]),
        (["a", "b"], ["plain", "a", "ab", "x", "xb", "y"]),
        (["b", "c", "a", "a"], ["plain", "a", "ab", "x", "xb", "y"]),
        (["c"], ["plain", "x", "y"]),
        (["A"], ["plain", "x", "y"]),
    ],
)
@pytest.mark.parametrize("form", [list, tuple, set, frozenset, iter])
def test_a_task_is_offered_where_its_tags_are_a_subset_of_the_workers(
    store: Any, offered: Offered, tags: Any, names: list[str], form: Callable[[Any], Any]
) -> None:
    assert offered(tags=None if tags is None else form(tags)) == names
    assert store.wait_for_tasks(0, tags=None if tags is None else form(tags)) is True
    given = store.claim_available_tasks("w", 10, tags=None if tags is None else form(tags))
    assert [claimed.task.task_id for claimed in given] == names


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (None, ["plain", "a", "ab", "x", "xb", "y"]),
        ([], []),
        (["x"], ["x", "xb"]),
        (["y", "x"], ["x", "xb", "y"]),
        ([""], ["plain", "a", "ab"]),
        (["", "y"], ["plain", "a", "ab", "y"]),
        (["nothing"], []),
        (["X"], []),
    ],
)
@pytest.mark.parametrize("form", [list, tuple, set, iter])
def test_a_worker_is_offered_only_the_kinds_that_it_asks_for(
    store: Any, offered: Offered, kinds: Any, names: list[str], form: Callable[[Any], Any]
) -> None:
    assert offered(kinds=None if kinds is None else form(kinds)) == names
    assert store.wait_for_tasks(0, kinds=None if kinds is None else form(kinds)) is bool(names)
    given = store.claim_available_tasks("w", 10, kinds=None if kinds is None else form(kinds))
    assert [claimed.task.task_id for claimed in given] == names


def test_tags_and_kinds_both_have_to_fit(offered: Offered) -> None:
    assert offered(kinds=["x"], tags=["a"]) == ["x"]
    assert offered(kinds=["x"], tags=["b"]) == ["x", "xb"]
    assert offered(kinds=[""], tags=["c"]) == ["plain"]


def test_claiming_by_name_asks_for_no_tags_and_no_kinds(store: Any) -> None:
    assert store.claim_task("i", "xb", "w", 30) is not None


def test_tasks_that_a_worker_may_not_take_hide_no_others(store: Any, offered: Offered) -> None:
    store.add_instance("j", [NewTask(f"t{n}", priority=1, tags=["gpu"], kind="big") for n in range(500)])
    assert offered("w", 1, tags=["a"]) == ["plain"]
    assert offered("w", 1, kinds=["y"]) == ["y"]
    assert [claimed.task.task_id for claimed in store.claim_available_tasks("w", 1, tags=["a"])] == ["plain"]


def test_tags_come_back_sorted_each_once(store: Any) -> None:
    store.add_tasks("i", [NewTask("many", tags=["z", "ä", "a", "z", "M"], priority=1)])
    assert store.get_task("i", "many").tags == ("M", "a", "z", "ä")
    assert store.find_available_tasks("w", 1)[0].tags == ("M", "a", "z", "ä")


def test_tags_are_compared_whole_and_as_they_are(store: Any, offered: Offered) -> None:
    odd = ['a"b', "a,b", "[]", "%", " a", "a'b\\"]
    store.add_instance("j", [NewTask(f"odd{n}", tags=[tag], kind=tag) for n, tag in enumerate(odd)])
    for n, tag in enumerate(odd):
        assert offered(tags=[tag], kinds=[tag]) == [f"odd{n}"]
        assert store.get_task("j", f"odd{n}").tags == (tag,)


def test_new_kinds_and_tags_are_found_as_soon_as_they_are_there(bench: Any, offered: Offered) -> None:
    other = bench.open()
    assert offered(kinds=["new"]) == []
    other.add_instance("j", [NewTask("t", kind="new", tags=["new"])])
    assert offered(kinds=["new"]) == ["t"]
    assert offered(kinds=["new"], tags=["new"]) == ["t"]
    if other is not bench.store:
        other.close()
