"""The differences between the memory store and the other stores. Also the use of the memory store in the tests of an
application."""

from __future__ import annotations

import inspect

import pytest

from sqlite_claims import InvalidStateError, NewTask, TaskClaimStore
from sqlite_claims.memory import InMemoryClaimStore


def test_there_is_no_sql_in_its_transactions() -> None:
    store = InMemoryClaimStore()
    with store.transaction() as tx:
        tx.add_instance("i")
        with pytest.raises(InvalidStateError):
            tx.execute("SELECT 1")
    assert store.get_instance("i").instance_id == "i"


def test_there_is_no_file_to_back_up() -> None:
    with pytest.raises(InvalidStateError):
        InMemoryClaimStore().backup("copy.db")


def test_its_methods_bear_the_interfaces_words() -> None:
    for name, method in inspect.getmembers(TaskClaimStore, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.getdoc(getattr(InMemoryClaimStore, name)) == inspect.getdoc(method)


def test_ten_thousand_tasks_are_done_one_by_one() -> None:
    store = InMemoryClaimStore()
    store.add_instance("i", [NewTask(f"t{n}", priority=n % 5 + 1, tags=["a"] if n % 2 else []) for n in range(10_000)])
    done = 0
    while found := store.claim_available_tasks("w"):
        store.complete_task(found[0].claim)
        done += 1
    assert done == 10_000
    assert store.check() == []


def test_a_worker_that_dies_in_a_test_can_be_played() -> None:
    store = InMemoryClaimStore()
    store.add_instance("i", [NewTask("t")])
    session = store.open_session("w")
    store.claim_task("i", "t", "w", None, session=session)
    session.kill()
    assert [(worker.worker_id, worker.alive, worker.claims) for worker in store.list_workers()] == [("w", False, 1)]
    assert store.claim_task("i", "t", "v", 30) is not None
    assert list(store.list_workers()) == []
