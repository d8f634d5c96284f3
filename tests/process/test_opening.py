"""Processes that open and close the same file at the same time."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from sqlite_claims import SqliteClaimStore

from ..tiers import first_is_fast
from .children import Start


@pytest.mark.parametrize("there", first_is_fast(["nothing", "an empty file", "a database"]))
def test_processes_that_make_the_same_store_at_once_share_one(start: Start, tmp_path: Path, there: str) -> None:
    children = [
        start(
            """
me = args[1]
say("ready")
while path := hear():
    with SqliteClaimStore(path) as store:
        store.add_instance(f"from-{me}", [NewTask("t", kind=me)])
        say("added", len(store.find_available_tasks("w", 10, kinds=[me])))
""",
            tmp_path,
            number,
        )
        for number in range(4)
    ]
    for child in children:
        child.says("ready")
    for attempt in range(5):
        path = tmp_path / f"jobs{attempt}.db"
        if there == "an empty file":
            path.touch()
        if there == "a database":
            connection = apsw.Connection(str(path))
            connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
            connection.close()
        for child in children:
            child.tell(str(path))
        for child in children:
            child.says("added", 1)
        with SqliteClaimStore(path, create=False) as store:
            assert {info.instance_id for info in store.list_instances()} == {f"from-{number}" for number in range(4)}
            assert store.check() == []


@pytest.mark.slow
def test_stores_that_are_opened_and_closed_all_the_time_lose_nothing(start: Start, tmp_path: Path) -> None:
    """The last process that closes the file copies the -wal into the database and removes the -wal. Meanwhile, the next
    process opens the file."""
    path = tmp_path / "jobs.db"
    children = [
        start(
            """
path, me = args
for number in range(25):
    with SqliteClaimStore(path) as store:
        store.add_instance(f"{me}-{number}", [NewTask("t")])
""",
            path,
            me,
        )
        for me in range(4)
    ]
    for child in children:
        child.end()
    with SqliteClaimStore(path) as store:
        assert len(list(store.list_instances())) == 100
        assert store.check() == []
