"""Foreign triggers on the store's tables, views in place of the tables, and unknown schemas. The store refuses such a
file with an error that names the foreign object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite_claims import NewTask, SqliteClaimStore, StoreCorruptError, TaskState, restore

LOOP = "SELECT (WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c)"
ENDLESS_VIEW = """
CREATE VIEW claims_sessions (id, worker, pid, started_wall) AS
WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n, 'w', 1, 0 FROM c"""
TRIGGERS = [
    "CREATE TRIGGER strange BEFORE UPDATE OF state ON claims_tasks BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER strange BEFORE UPDATE OF state ON Claims_Tasks BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    f"CREATE TRIGGER strange AFTER UPDATE ON claims_tasks BEGIN {LOOP}; END",
    "CREATE TRIGGER strange AFTER UPDATE ON claims_tasks BEGIN UPDATE claims_tasks SET state = 3; END",
    # The trigger has the name of a common table expression in the store's own statements.
    "CREATE TRIGGER held AFTER UPDATE ON claims_tasks BEGIN DELETE FROM claims_sessions; END",
]


def change(path: str | Path, *statements: str) -> None:
    """Change the file as a foreign program might change it."""
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.fixture(params=[None, False], ids=["core or not", "without core"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process", use_c_core=request.param) as store:
        store.add_instance("i", [NewTask("a"), NewTask("b", depends_on=["a"]), NewTask("c")])
        yield store


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_file_with_a_trigger_on_our_tables_is_not_opened_for_writing(store: SqliteClaimStore, trigger: str) -> None:
    path = store.path
    store.close()
    change(path, trigger)
    with pytest.raises(StoreCorruptError, match=r"trigger '(strange|held)' on claims_tasks .*drop it"):
        SqliteClaimStore(path)
    with SqliteClaimStore(path, read_only=True) as reading:
        assert reading.get_task("i", "a").state is TaskState.READY
    with pytest.raises(StoreCorruptError, match="trigger"):
        restore(path, f"{path}.restored")
    change(path, f"DROP TRIGGER {'held' if 'held' in trigger else 'strange'}")
    with SqliteClaimStore(path) as store:
        assert len(store.claim_available_tasks("w", 5)) == 2


WRITES: list[Callable[[SqliteClaimStore], Any]] = [
    lambda store: store.claim_available_tasks("w"),
    lambda store: store.claim_available_tasks("w", 5),
    lambda store: store.claim_task("i", "a", "w", 30),
    lambda store: store.complete_task(next(store.list_claims())),
    lambda store: store.complete_tasks([(claim, b"") for claim in store.list_claims()]),
    lambda store: store.fail_task(next(store.list_claims()), "no", retry=False),
    lambda store: store.release_task_claim("i", "c", "other"),
]


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("write", range(len(WRITES)))
def test_a_trigger_that_comes_while_the_store_is_open_is_noticed_before_it_runs(
    store: SqliteClaimStore, write: int, trigger: str
) -> None:
    store.claim_task("i", "c", "other", 600)
    act = WRITES[write]
    change(store.path, trigger)
    tasks = list(store.list_tasks())

    def in_a_transaction() -> None:
        with store.transaction() as tx:
            tx.add_instance("j")
            tx.claim_available_tasks("w")

    for attempt in (lambda: act(store), lambda: act(store), in_a_transaction):
        with pytest.raises(StoreCorruptError, match=r"'(strange|held)', a trigger on the store's tables"):
            attempt()
    assert [task.task_id for task in store.find_available_tasks("w", 5)] == ["a"]
    assert list(store.list_tasks()) == tasks
    change(store.path, f"DROP TRIGGER {'held' if 'held' in trigger else 'strange'}")
    assert [claimed.task.task_id for claimed in store.claim_available_tasks("w", 5)] == ["a"]


def test_a_view_in_the_place_of_a_table_is_noticed(store: SqliteClaimStore) -> None:
    change(
        store.path,
        "DROP TABLE claims_sessions",
        ENDLESS_VIEW,
    )
    for act in (store.list_workers, store.list_workers, lambda: store.claim_available_tasks("w")):
        with pytest.raises(StoreCorruptError, match=r"'claims_sessions', a trigger .*or a view"):
            act()
    with pytest.raises(StoreCorruptError, match="claims_sessions is a view, but must be a table"):
        SqliteClaimStore(store.path)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["DELETE FROM claims_meta"], "schema_version in claims_meta is None"),
        (["UPDATE claims_meta SET schema_version = -1"], "schema_version in claims_meta is -1"),
        (["DROP TABLE claims_pruned"], "the table claims_pruned is missing"),
        (["DROP TABLE claims_meta"], "contains a table claims_attempts, but no claims_meta"),
        (["DROP INDEX claims_task_next"], "no such index: claims_task_next"),
        (["ALTER TABLE claims_tasks DROP COLUMN delay"], "no such column"),
    ],
)
def test_a_file_without_all_that_a_store_has_is_corrupt(
    store: SqliteClaimStore, statements: list[str], said: str
) -> None:
    path = store.path
    store.close()
    change(path, *statements)
    with pytest.raises(StoreCorruptError, match=said):
        SqliteClaimStore(path).get_task("i", "a")


def test_the_triggers_of_an_application_on_its_own_tables_are_none_of_our_business(store: SqliteClaimStore) -> None:
    change(store.path, "CREATE TABLE own (a)", "CREATE TRIGGER t AFTER INSERT ON own BEGIN DELETE FROM own; END")
    assert len(store.claim_available_tasks("w", 5)) == 2
    with SqliteClaimStore(store.path) as other:
        assert other.check() == []


def test_a_backup_runs_no_trigger_of_the_file(store: SqliteClaimStore) -> None:
    path = f"{store.path}.backup"
    change(store.path, "CREATE TRIGGER t AFTER UPDATE ON claims_meta BEGIN DELETE FROM claims_tasks; END")
    store.backup(path)
    with SqliteClaimStore(path, read_only=True) as copy:
        assert len(list(copy.list_tasks())) == 3
        assert ["trigger 't' on claims_meta" in finding for finding in copy.check()] == [True]
    with pytest.raises(StoreCorruptError, match="trigger 't' on claims_meta"):
        SqliteClaimStore(path)
