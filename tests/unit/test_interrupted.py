"""A signal handler raises an exception, such as KeyboardInterrupt, at the start of each function that a call of the
store runs. After the exception, the store and its transactions can still be used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import sqlite_claims
from sqlite_claims import NewTask, SqliteClaimStore

PACKAGE = str(Path(sqlite_claims.__file__).parent)


class Interrupted(BaseException):
    """The exception that the simulated signal handler raises."""


def is_interrupted(call: Callable[[], object], at: int) -> bool:
    """Make a call, and interrupt it at the start of the ``at``-th function that it runs. Return ``False`` if the call
    runs fewer functions."""
    entered = 0

    def trace(frame: FrameType, event: str, _: Any) -> None:
        nonlocal entered
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            entered += 1
            if entered == at:
                sys.settrace(None)
                raise Interrupted

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.settrace(former)
    return False


def add_claim_and_complete(store: SqliteClaimStore) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b", depends_on=["a"])], if_exists="skip")
    for claimed in store.claim_available_tasks("w", 1, 60):
        store.complete_task(claimed.claim)


def read(store: SqliteClaimStore) -> None:
    store.stats()
    store.find_available_tasks("w", 1)
    list(store.list_tasks())


@pytest.mark.parametrize("use", [add_claim_and_complete, read])
def test_a_store_goes_on_after_a_call_that_was_interrupted_anywhere(
    tmp_path: Path, use: Callable[[SqliteClaimStore], None]
) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        at = 1
        while is_interrupted(lambda: use(store), at):
            at += 1
            store.add_instance(f"other {at}")
        assert at > 20
        assert store.check() == []


def test_a_transaction_goes_on_after_sql_that_was_interrupted_anywhere(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        with store.transaction(3600) as tx:
            tx.execute("CREATE TABLE own (name TEXT)")
            at = 1
            while is_interrupted(lambda: tx.execute("INSERT INTO own VALUES ('interrupted')"), at):
                tx.execute("DELETE FROM own")
                at += 1
            assert at > 3
            assert tx.execute("SELECT count(*) FROM own") == [(1,)]
        assert store.check() == []
