"""Upgrading an older file. For this purpose, these tests define a second version of the schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from sqlite_claims import BackendError, NewTask, SchemaVersionError, SqliteClaimStore
from sqlite_claims.sqlite import schema
from sqlite_claims.sqlite.statements import migrations

from ..process.children import Start

NEXT = schema.VERSION + 1
# The upgrade cannot run twice: the second time, CREATE TABLE fails.
UPGRADE = "CREATE TABLE claims_upgraded (at INTEGER); INSERT INTO claims_upgraded SELECT count(*) FROM claims_tasks;"

# This program makes the same upgrade in a second process. The upgrade stops half-way and waits for a line of input.
UPGRADER = f"""
from sqlite_claims.sqlite import open_connection
from sqlite_claims.sqlite import schema
scripts = [*schema.migrations(), ({NEXT}, {UPGRADE!r}.replace("INSERT", "SELECT half_done(); INSERT"))]
schema.migrations = lambda: scripts
schema.VERSION = {NEXT}
stops = args[1] == "stops"

def half_done():
    if stops:
        say("half", "done")
        hear()

def connect(*given, connect=open_connection.connect, **options):
    connection = connect(*given, **options)
    connection.create_scalar_function("half_done", half_done)
    return connection

open_connection.connect = connect
say("ready")
hear()
store = SqliteClaimStore(args[0])
say("opened", store.get_task("i", "t").state)
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Make a store with the current schema."""
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t")])
    return path


@pytest.fixture
def upgraded(old: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the old store, and make this process use a newer schema version from now on."""
    upgrade_with(monkeypatch, UPGRADE)
    return old


def upgrade_with(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    scripts = [*migrations(), (NEXT, script)]
    monkeypatch.setattr(schema, "migrations", lambda: scripts)
    monkeypatch.setattr(schema, "VERSION", NEXT)


def version_and_tables(path: Path) -> tuple[int | None, int]:
    connection = apsw.Connection(str(path))
    try:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE name = 'claims_upgraded'").fetchall()
        return schema.version_of(connection), len(tables)
    finally:
        connection.close()


def test_opening_an_older_file_upgrades_it_and_keeps_what_is_in_it(upgraded: Path) -> None:
    with SqliteClaimStore(upgraded) as store:
        assert store.get_task("i", "t").state == "ready"
        assert store.check() == []
    assert version_and_tables(upgraded) == (NEXT, 1)
    SqliteClaimStore(upgraded).close()


@pytest.mark.usefixtures("upgraded")
def test_a_new_file_gets_all_versions_in_turn(tmp_path: Path) -> None:
    SqliteClaimStore(tmp_path / "new.db").close()
    assert version_and_tables(tmp_path / "new.db") == (NEXT, 1)


def test_a_store_that_may_only_read_says_that_the_file_needs_an_upgrade_and_leaves_it(upgraded: Path) -> None:
    with pytest.raises(SchemaVersionError, match="needs an upgrade"):
        SqliteClaimStore(upgraded, read_only=True)
    assert version_and_tables(upgraded) == (schema.VERSION - 1, 0)


def test_an_upgrade_that_fails_half_way_leaves_the_file_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        upgrade_with(patch, f"{UPGRADE} DROP TABLE no_such_table;")
        with pytest.raises(BackendError, match="no_such_table"):
            SqliteClaimStore(old)
    assert version_and_tables(old) == (schema.VERSION, 0)
    with SqliteClaimStore(old) as store:
        assert store.check() == []


def test_an_upgrade_that_is_killed_half_way_leaves_the_file_as_it_was(start: Start, old: Path) -> None:
    upgrader = start(UPGRADER, old, "stops")
    upgrader.says("ready")
    upgrader.tell()
    upgrader.says("half", "done")
    upgrader.kill()
    assert version_and_tables(old) == (schema.VERSION, 0)
    with SqliteClaimStore(old) as store:
        assert store.get_task("i", "t")
        assert store.check() == []


def test_of_processes_that_open_an_older_file_at_once_one_upgrades_it_and_all_get_it(start: Start, old: Path) -> None:
    upgraders = [start(UPGRADER, old, "goes on") for _ in range(4)]
    for upgrader in upgraders:
        upgrader.says("ready")
    for upgrader in upgraders:
        upgrader.tell()
    for upgrader in upgraders:
        upgrader.says("opened", "ready")
        upgrader.end()
    assert version_and_tables(old) == (NEXT, 1)


def test_opening_the_file_waits_while_another_process_upgrades_it(start: Start, upgraded: Path) -> None:
    upgrader = start(UPGRADER, upgraded, "stops")
    upgrader.says("ready")
    upgrader.tell()
    upgrader.says("half", "done")
    with pytest.raises(BackendError, match="write lock"):
        SqliteClaimStore(upgraded, busy_timeout=0.05)
    upgrader.tell()
    with SqliteClaimStore(upgraded, busy_timeout=60) as store:
        assert store.get_task("i", "t")
    upgrader.says("opened", "ready")
    upgrader.end()
    assert version_and_tables(upgraded) == (NEXT, 1)


def test_a_process_that_knows_only_the_old_version_is_refused_after_an_upgrade(start: Start, old: Path) -> None:
    upgrader = start(UPGRADER, old, "goes on")
    upgrader.says("ready")
    upgrader.tell()
    upgrader.says("opened", "ready")
    upgrader.end()
    with pytest.raises(SchemaVersionError, match="upgrade sqlite-claims"):
        SqliteClaimStore(old)


def test_a_process_that_has_the_file_open_reports_that_a_newer_version_has_upgraded_the_file(old: Path) -> None:
    with SqliteClaimStore(old) as store:
        with apsw.Connection(str(old)) as connection:
            connection.execute("ALTER TABLE claims_tasks RENAME TO claims_other")
            connection.execute("ALTER TABLE claims_instances RENAME TO claims_others")
            connection.execute("UPDATE claims_meta SET schema_version = ?", (NEXT,))
        calls: list[Callable[[], object]] = [
            lambda: store.get_task("i", "t"),
            lambda: store.claim_available_tasks("w"),
            lambda: store.add_instance("j"),
            lambda: store.wait_for_tasks(60),
            lambda: list(store.list_instances()),
        ]
        for call in calls:
            with pytest.raises(SchemaVersionError, match=f"upgraded the file to schema version {NEXT}.*restart"):
                call()
        with store.transaction() as tx, pytest.raises(SchemaVersionError, match="restart"):
            tx.add_instance("j")
        connection.close()
