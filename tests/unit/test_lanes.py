"""Each process has a copy of the file's lanes, with their kinds and sets of tags. This copy stays correct when other
processes add lanes, or when the transaction that adds a lane is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sqlite_claims import NewTask, NotFoundError, SqliteClaimStore

Open = Callable[[], SqliteClaimStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    stores = []

    def open_store() -> SqliteClaimStore:
        store = SqliteClaimStore(tmp_path / "jobs.db", durability="process")
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


def offered(store: SqliteClaimStore, *kinds: str, tags: list[str] | None = None) -> list[tuple[str, str]]:
    found = store.find_available_tasks("w", 100, kinds=kinds or None, tags=tags)
    return [(task.task_id, task.kind) for task in found]


def fail_in_a_transaction(store: SqliteClaimStore) -> None:
    with store.transaction() as tx:
        tx.add_instance("gone", [NewTask("t", kind="gone")])
        tx.get_instance("nothing of that name")


def test_a_kind_whose_adding_was_rolled_back_leaves_its_number_to_the_next(open_store: Open) -> None:
    first, second = open_store(), open_store()
    first.add_instance("i", [NewTask("t", kind="there")])
    with pytest.raises(NotFoundError):
        fail_in_a_transaction(first)
    second.add_instance("j", [NewTask("u", kind="other")])
    assert offered(first) == [("t", "there"), ("u", "other")]
    assert offered(first, "gone") == []
    assert offered(first, "other") == [("u", "other")]
    first.add_instance("k", [NewTask("v", kind="gone")])
    assert offered(second, "gone") == [("v", "gone")]
    assert second.check() == []


def test_a_kind_whose_adding_was_undone_within_a_transaction_that_goes_on_is_not_remembered(open_store: Open) -> None:
    store = open_store()
    with store.transaction() as tx:
        tx.add_instance("i", [NewTask("t", kind="kept")])
        with pytest.raises(ValueError, match="twice"):
            tx.add_instance("j", [NewTask("t", kind="gone"), NewTask("t", kind="gone")])
        with pytest.raises(NotFoundError):
            tx.add_tasks("nothing of that name", [NewTask("t", kind="gone")])
        tx.add_instance("k", [NewTask("u", kind="later")])
    assert offered(store) == [("t", "kept"), ("u", "later")]
    assert offered(open_store()) == [("t", "kept"), ("u", "later")]


def fail_after_a_part_failed(store: SqliteClaimStore) -> None:
    with store.transaction() as tx:
        tx.add_instance("gone", [NewTask("t", kind="gone")])
        with pytest.raises(NotFoundError):
            tx.get_instance("nothing of that name")
        assert [one.task.kind for one in tx.claim_available_tasks("w", kinds=["gone"])] == ["gone"]
        tx.get_instance("nothing of that name")


def test_a_kind_that_was_read_again_in_a_transaction_is_forgotten_when_all_of_it_is_rolled_back(
    open_store: Open,
) -> None:
    first, second = open_store(), open_store()
    with pytest.raises(NotFoundError):
        fail_after_a_part_failed(first)
    # the new lane gets the id that was rolled back, and the table of lanes gets the version that was rolled back
    second.add_instance("i", [NewTask("t", kind="other")])
    assert offered(first, "gone") == []
    assert offered(first, "other") == [("t", "other")]
    first.add_instance("j", [NewTask("u", kind="gone")])
    assert second.get_task("j", "u").kind == "gone"


def test_kinds_that_others_add_are_seen_at_the_next_look(open_store: Open) -> None:
    first, second = open_store(), open_store()
    assert offered(first, "new") == []
    second.add_instance("i", [NewTask("t", kind="new")])
    assert offered(first, "new") == [("t", "new")]
    assert first.get_task("i", "t").kind == "new"


def test_a_worker_is_offered_the_tasks_whose_tags_are_among_its_own(open_store: Open) -> None:
    store = open_store()
    sets = [[], ["a"], ["b"], ["a", "b"], ["a", "b", "c"]]
    store.add_instance("i", [NewTask(f"t{n}", tags=tags) for n, tags in enumerate(sets)])
    assert [name for name, _ in offered(store)] == ["t0", "t1", "t2", "t3", "t4"]
    assert [name for name, _ in offered(store, tags=["a"])] == ["t0", "t1"]
    assert [name for name, _ in offered(store, tags=["b", "a"])] == ["t0", "t1", "t2", "t3"]
    assert [name for name, _ in offered(store, tags=["z"])] == ["t0"]


def test_names_that_look_alike_when_written_down_are_different_lanes(open_store: Open) -> None:
    store = open_store()
    sets = [['a","b'], ["a", "b"], ["a,b"], ["é"], ["\\u00e9"]]
    store.add_instance("i", [NewTask(f"t{n}", kind="k", tags=tags) for n, tags in enumerate(sets)])
    again = open_store()
    assert [task.tags for task in again.list_tasks()] == [tuple(tags) for tags in sets]
    for number, tags in enumerate(sets):
        assert [name for name, _ in offered(again, tags=tags)] == [f"t{number}"]


def test_any_number_of_different_wishes_is_served(open_store: Open) -> None:
    store = open_store()
    store.add_instance("i", [NewTask(f"t{n}", kind=f"k{n}") for n in range(300)])
    for _ in range(2):
        for number in range(300):
            assert offered(store, f"k{number}") == [(f"t{number}", f"k{number}")]
