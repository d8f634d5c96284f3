"""A signal handler or a destructor may call a store while a call of the same store is running. The store rejects such a
call, and the call has no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import InvalidStateError, NewTask, SqliteClaimStore
from sqlite_claims.sqlite.database import Database


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.add_instance("i", [NewTask("t")])
        yield store


INNER: dict[str, Callable[[SqliteClaimStore], Any]] = {
    "writes": lambda store: store.add_instance("inner"),
    "reads": lambda store: store.get_instance("i"),
    "looks for work": lambda store: store.find_available_tasks("w", 1),
    "claims": lambda store: store.claim_available_tasks("w", 1),
    "begins a transaction": lambda store: store.transaction().__enter__(),
    "closes": lambda store: store.close(),
    "opens a session": lambda store: store.open_session("w"),
}


@pytest.mark.parametrize("what", INNER)
@pytest.mark.parametrize("mode", ["write", "read"])
def test_a_call_within_a_call_is_refused_and_the_outer_call_goes_on(
    store: SqliteClaimStore, what: str, mode: str
) -> None:
    refused = []

    def outer(db: Database) -> None:
        db.execute("SELECT 1")
        try:
            INNER[what](store)
        except InvalidStateError as error:
            refused.append(error)
        if mode == "write":
            db.execute("UPDATE claims_instances SET definition_hash = 'changed'")

    if mode == "write":
        store._db.write(outer, False)
        assert store.get_instance("i").definition_hash == "changed"
    else:
        store._db.read(outer)
    assert len(refused) == 1
    assert [info.instance_id for info in store.list_instances()] == ["i"]


def test_within_a_transaction_the_stores_own_writing_methods_are_refused_and_the_transaction_goes_on(
    store: SqliteClaimStore,
) -> None:
    with store.transaction() as tx:
        tx.add_instance("one")
        for what in ("writes", "claims", "begins a transaction", "closes", "opens a session"):
            with pytest.raises(InvalidStateError):
                INNER[what](store)
        tx.add_instance("two")
    assert [info.instance_id for info in store.list_instances()] == ["i", "one", "two"]
