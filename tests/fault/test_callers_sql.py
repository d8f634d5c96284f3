"""The caller's own SQL in ``transaction()`` can change the caller's tables, but not the store's tables and not the
settings of the connection."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite_claims import (
    AsyncSqliteClaimStore,
    InvalidArgumentError,
    InvalidStateError,
    NewTask,
    SqliteClaimStore,
    StoreBusyError,
)

REFUSED = {
    "transaction control": [
        "COMMIT", "END", "ROLLBACK", "BEGIN", "SAVEPOINT a", "RELEASE claims_call", "ROLLBACK TO claims_call",
        "/* a */ COMMIT", "SELECT 1; COMMIT", "EXPLAIN COMMIT",
    ],
    "ATTACH": ["ATTACH ':memory:' AS other"],
    "DETACH": ["DETACH main"],
    "(belongs to|rows of) the store": [
        "UPDATE claims_tasks SET token = 0",
        "UPDATE main.CLAIMS_TASKS SET token = 0",
        "INSERT OR REPLACE INTO claims_meta SELECT * FROM claims_meta",
        "DELETE FROM claims_sessions",
        "SELECT 1; -- that was one\nDELETE FROM claims_sessions",
        "DROP TABLE claims_tasks",
        "DROP INDEX claims_task_next",
        "DROP VIEW claims_tasks_v",
        "CREATE INDEX mine ON claims_tasks (name)",
        "CREATE INDEX mine ON claims_tasks (name COLLATE NOCASE) WHERE token > 0",
        "CREATE TABLE claims_mine (a)",
        "CREATE VIEW claims_mine AS SELECT 1",
        "CREATE VIRTUAL TABLE claims_mine USING fts5 (a)",
        "CREATE TEMP TABLE claims_meta (id)",
        "CREATE TEMP VIEW claims_tasks AS SELECT 1 AS id",
        "CREATE TRIGGER mine AFTER UPDATE ON claims_tasks BEGIN SELECT 1; END",
        "CREATE TRIGGER mine INSTEAD OF UPDATE ON claims_tasks_v BEGIN SELECT 1; END",
        "CREATE TEMP TRIGGER mine BEFORE UPDATE OF state ON claims_tasks BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TEMP TABLE passing (id); ALTER TABLE temp.passing RENAME TO claims_meta",
        "ALTER TABLE claims_tasks ADD COLUMN mine TEXT AS (hex(zeroblob(1000000)))",
        "ALTER TABLE claims_tasks RENAME TO mine",
        "ALTER TABLE claims_tasks RENAME COLUMN token TO mine",
        "ANALYZE",
        "ANALYZE claims_tasks",
        "CREATE TRIGGER mine AFTER INSERT ON own BEGIN DELETE FROM claims_tasks; END; INSERT INTO own (id) VALUES (9)",
    ],
    "PRAGMA": [
        "PRAGMA locking_mode = EXCLUSIVE", "PRAGMA main.locking_mode(EXCLUSIVE)", "PRAGMA query_only = 1",
        "PRAGMA busy_timeout = 0", "PRAGMA journal_mode = DELETE", "PRAGMA synchronous = OFF",
        "PRAGMA writable_schema = 1", "PRAGMA schema_version = 99", "PRAGMA foreign_keys = ON",
        "PRAGMA wal_checkpoint", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA incremental_vacuum", "PRAGMA optimize",
        "PRAGMA case_sensitive_like = 1", "PRAGMA recursive_triggers = 0", "PRAGMA max_page_count = 1",
    ],
    "sqlite_": [
        "UPDATE sqlite_sequence SET seq = 0",
        "DELETE FROM sqlite_sequence WHERE name LIKE 'claims%'",
        "INSERT INTO sqlite_sequence VALUES ('claims_sessions', 9223372036854775807)",
        "DROP TABLE own; DELETE FROM sqlite_sequence",
    ],
}  # fmt: skip
ALLOWED = [
    "SELECT count(*) FROM claims_tasks",
    "SELECT state FROM claims_tasks_v",
    "INSERT INTO own (id) VALUES (7)",
    "UPDATE own SET claims_made = 1",
    "CREATE TEMP TABLE passing (a); INSERT INTO passing VALUES (1); DROP TABLE passing",
    "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO counted VALUES (1); DROP TABLE counted",
    "CREATE INDEX own_made ON own (claims_made); REINDEX own_made; ANALYZE own; DROP INDEX own_made",
    "CREATE TABLE kept AS SELECT name FROM claims_tasks; ALTER TABLE kept RENAME TO had; ALTER TABLE had ADD COLUMN b",
    "CREATE VIRTUAL TABLE words USING fts5 (a); INSERT INTO words VALUES ('x'); DROP TABLE words",
    "PRAGMA user_version = 3",
    "PRAGMA user_version",
    "PRAGMA locking_mode",
    "PRAGMA table_info(own)",
    "SELECT * FROM pragma_table_info('own')",
    "PRAGMA foreign_key_check",
    "WITH lane (id) AS (SELECT 1) SELECT * FROM lane",
    "",
]  # fmt: skip
# A query that has so many rows that it would run for a hundred years.
ENDLESS = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.add_instance("i", [NewTask("a"), NewTask("b")])
        with store.open_session("s"), store.transaction() as tx:
            tx.execute("CREATE TABLE own (id INTEGER PRIMARY KEY AUTOINCREMENT, claims_made)")
            tx.execute("INSERT INTO own (id) VALUES (5)")
        yield store


def use(store: SqliteClaimStore) -> None:
    """Assert that the store works as before, and that a second store object on the same file works, too."""
    assert [claimed.task.task_id for claimed in store.claim_available_tasks("v")] == ["a"]
    with SqliteClaimStore(store.path, durability="process", busy_timeout=0.1) as other:
        assert [claimed.task.task_id for claimed in other.claim_available_tasks("w", 5)] == ["b"]
        assert other.add_instance("j", [NewTask("a")])
    assert store.check() == []


@pytest.mark.parametrize(("said", "statement"), [(said, one) for said, texts in REFUSED.items() for one in texts])
def test_sql_that_would_reach_the_store_or_the_connection_is_refused(
    store: SqliteClaimStore, said: str, statement: str
) -> None:
    with store.transaction() as tx:
        tx.execute("INSERT INTO own (id) VALUES (6)")
        with pytest.raises(InvalidArgumentError, match=said):
            tx.execute(statement)
        assert tx.execute("SELECT id FROM own") == [(5,), (6,)]
        tx.add_instance("added", [])
    assert store.get_instance("added")
    use(store)


@pytest.mark.parametrize("statement", ALLOWED)
def test_sql_for_the_callers_own_tables_runs(store: SqliteClaimStore, statement: str) -> None:
    with store.transaction() as tx:
        tx.execute(statement)
        tx.add_instance("added", [])
    use(store)


def test_the_schema_cannot_be_written_as_a_table(store: SqliteClaimStore) -> None:
    with store.transaction() as tx, pytest.raises(apsw.SQLError, match="may not be modified"):
        tx.execute("DELETE FROM sqlite_schema WHERE name = 'claims_task_next'")
    use(store)


def test_the_callers_own_triggers_run_on_its_own_tables(store: SqliteClaimStore) -> None:
    with store.transaction() as tx:
        tx.execute("CREATE TABLE log (id)")
        tx.execute("CREATE TRIGGER noted AFTER INSERT ON own BEGIN INSERT INTO log VALUES (new.id); END")
    with store.transaction() as tx:
        tx.execute("INSERT INTO own (id) VALUES (6)")
        tx.add_instance("k", [NewTask("c")])
        assert tx.execute("SELECT id FROM log") == [(6,)]
    store.cancel_instance("k")
    use(store)


@pytest.mark.parametrize(
    "statement", ["INSERT OR ROLLBACK INTO own (id) VALUES (5)", "INSERT INTO own (id) VALUES (66)"]
)
def test_after_sqlite_itself_has_rolled_back_all_that_follows_is_refused(
    store: SqliteClaimStore, statement: str
) -> None:
    with store.transaction() as tx:
        tx.execute("CREATE TRIGGER t BEFORE INSERT ON own WHEN new.id = 66 BEGIN SELECT RAISE(ROLLBACK, 'no'); END")

    def roll_back() -> None:
        with store.transaction() as tx:
            tx.add_instance("never", [NewTask("t", kind="never")])
            with pytest.raises(apsw.ConstraintError):
                tx.execute(statement)
            for call in (lambda: tx.execute("SELECT 1"), lambda: tx.add_instance("j"), lambda: tx.get_instance("i")):
                with pytest.raises(InvalidStateError, match="rolled"):
                    call()

    with pytest.raises(InvalidStateError, match="rolled"):
        roll_back()
    assert [info.instance_id for info in store.list_instances()] == ["i"]
    use(store)


@pytest.mark.parametrize("statement", [ENDLESS, f"INSERT INTO own (claims_made) {ENDLESS}", f"SELECT 1; {ENDLESS}"])
def test_a_statement_without_an_end_is_interrupted_at_the_timeout(store: SqliteClaimStore, statement: str) -> None:
    def run() -> None:
        with store.transaction(timeout=0.1) as tx:
            tx.add_instance("never")
            with pytest.raises(StoreBusyError, match=r"0\.1 s"):
                tx.execute(statement)
            with pytest.raises(StoreBusyError, match=r"0\.1 s"):
                tx.execute("SELECT 1")

    with pytest.raises(StoreBusyError, match=r"0\.1 s"):
        run()
    assert [info.instance_id for info in store.list_instances()] == ["i"]
    use(store)


def test_a_signal_is_heard_while_the_callers_sql_runs(store: SqliteClaimStore) -> None:
    def stop(*_: Any) -> None:
        raise KeyError("stopped")

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with store.transaction(timeout=60) as tx:
            threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1]).start()
            with pytest.raises(KeyError):
                tx.execute(ENDLESS)
    finally:
        signal.signal(signal.SIGUSR1, before)
    use(store)


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ([object()], TypeError),
        ([2**63], OverflowError),
        ([1, 2], apsw.BindingsError),
        ({"b": 1}, KeyError),
        (7, TypeError),
    ],
)
def test_bindings_that_sqlite_has_no_use_for_undo_nothing_else(
    store: SqliteClaimStore, params: Any, error: type[Exception]
) -> None:
    with store.transaction() as tx:
        tx.add_instance("k")
        with pytest.raises(error):
            tx.execute("INSERT INTO own (id) VALUES (:a)", params)
        tx.execute("INSERT INTO own (id) VALUES (8)")
    assert store.get_instance("k")
    use(store)


def test_an_asynchronous_transaction_is_interrupted_too_and_others_get_their_turn(store: SqliteClaimStore) -> None:
    async def use() -> None:
        async with AsyncSqliteClaimStore(store.path, durability="process") as on:

            async def run() -> None:
                async with on.transaction(timeout=0.1) as tx:
                    await tx.add_instance("never")
                    await tx.execute(ENDLESS)

            with pytest.raises(StoreBusyError):
                await run()
            assert await on.add_instance("k")

    asyncio.run(use())
    assert [info.instance_id for info in store.list_instances()] == ["i", "k"]


def test_a_foreign_key_to_our_tables_has_no_effect_and_is_told_by_check(store: SqliteClaimStore) -> None:
    with store.transaction() as tx:
        tx.execute("CREATE TABLE refers (task REFERENCES claims_tasks (id) ON DELETE CASCADE)")
        tx.execute("INSERT INTO refers SELECT id FROM claims_tasks")
    store.cancel_instance("i")
    assert store.prune(0) == 1
    with store.transaction() as tx:
        assert len(tx.execute("SELECT task FROM refers")) == 2
    assert store.check() == ["table refers: a foreign key refers to claims_tasks, whose rows the store removes"]
