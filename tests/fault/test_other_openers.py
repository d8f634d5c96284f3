"""A second name of a store's file, and other SQLite connections to the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore, StoreUnavailableError
from sqlite_claims.sqlite.database import CHECK_EVERY_COMMITS

from ..process.children import Start


def test_a_second_name_of_a_store_in_use_is_refused(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        os.link(store.path, tmp_path / "other.db")
        with pytest.raises(StoreUnavailableError, match=r"other\.db-wal and .*other\.db-shm: gone, while"):
            SqliteClaimStore(tmp_path / "other.db", busy_timeout=0)
        assert not (tmp_path / "other.db-wal").exists()


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_an_application_that_reads_its_own_database_keeps_no_store_out(start: Start, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "app.db"
    reader = start(
        """
import apsw
connection = apsw.Connection(args[0])
connection.pragma("journal_mode", args[1])
connection.execute("CREATE TABLE theirs (number)")
cursor = connection.execute("SELECT * FROM sqlite_schema")
say("reading")
hear()
cursor.close()
say("read")
hear()
""",
        path,
        mode,
    )
    reader.says("reading")
    reader.tell()
    reader.says("read")
    with SqliteClaimStore(path) as store:
        store.add_instance("i")
    reader.tell()
    reader.end()


def test_a_second_copy_of_sqlite_in_the_process_is_noticed(start: Start, tmp_path: Path) -> None:
    child = start(
        """
import sqlite3
for durability in ("full", "process"):
    path = f"{args[0]}-{durability}.db"
    with SqliteClaimStore(path, durability=durability) as store:
        store.add_instance("before")
        look = sqlite3.connect(path)
        look.execute("CREATE TABLE theirs (number)")
        look.close()
        added = 0
        try:
            while added < 100:
                store.add_instance(f"i{added}")
                added += 1
        except StoreUnavailableError as error:
            say(added, error)
        store.add_instance("after")
        look = store._db.execute("SELECT count(*) FROM theirs").fetchall()  # asserts that the table was not overwritten
        say(store.check(), look)
""",
        tmp_path / "jobs",
    )
    for most in (0, CHECK_EVERY_COMMITS - 1):
        added, message = child.next_line().split(" ", 1)
        assert int(added) <= most
        assert "another copy of SQLite in this process" in message
        assert child.next_line() == "[] [(0,)]"
    child.end()
