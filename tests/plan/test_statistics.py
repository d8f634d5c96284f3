"""An application that has its tables and the store in one file may run ANALYZE on the whole file. When a store opens
this file, it removes the statistics of its own tables, because they can make query plans slow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

from sqlite_claims import NewTask, SqliteClaimStore
from sqlite_claims.sqlite.statements import sql

from .test_statements import ALLOWED, PLANNED, is_costly, plan_of


def costly(store: SqliteClaimStore) -> dict[str, list[str]]:
    """Return the statements with steps that are not allowed."""
    found = {
        name: [
            s for s in plan_of(store._db.connection, sql.all()[name]) if is_costly(s) and s not in ALLOWED.get(name, {})
        ]
        for name in PLANNED
    }
    return {name: steps for name, steps in found.items() if steps}


def fill(store: SqliteClaimStore, instances: int) -> None:
    """Add tasks in many states."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for number in range(instances):
        tasks = [
            NewTask("root", b"input"),
            NewTask("next", depends_on=["root"], kind=f"k{number % 4}"),
            NewTask("later", delay=60, priority=1 + number % 5),
            NewTask("tomorrow", available_at=tomorrow, tags=["x"]),
        ]
        store.add_instance(f"i{number}", tasks)
    claims = [one.claim for one in store.claim_available_tasks("w", instances, 60)]
    store.complete_tasks([(claim, b"output") for claim in claims[::3]])
    store.fail_tasks([(claim, "error") for claim in claims[1::3]])
    store.pause_instance("i0")
    store.cancel_instance("i1")


@pytest.mark.parametrize("instances", [2, 30])
def test_those_of_a_store_that_was_small_do_not_spoil_the_plans_for_one_that_is_large(
    tmp_path: Path, instances: int
) -> None:
    path = tmp_path / "app.db"
    with SqliteClaimStore(path, durability="process") as store:
        fill(store, instances)
        application = apsw.Connection(str(path))
        application.execute("CREATE TABLE orders (note TEXT); CREATE INDEX notes ON orders (note)")
        application.execute("INSERT INTO orders VALUES ('a'), ('b'); ANALYZE")
        application.close()
        store.stats()  # makes the store notice that the tables of the file have changed
        assert costly(store), "this ANALYZE did no harm, so nothing is shown below"
    with SqliteClaimStore(path, durability="process") as store:
        assert costly(store) == {}
        with store.transaction() as tx:
            assert tx.execute("SELECT DISTINCT tbl FROM sqlite_stat1") == [("orders",)]


def test_a_full_store_without_statistics_has_the_same_plans_as_an_empty_one(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        fill(store, 30)
        assert costly(store) == {}


def test_opening_the_store_while_another_process_writes_leaves_the_statistics_to_later(
    tmp_path: Path,
) -> None:
    path = tmp_path / "app.db"
    with SqliteClaimStore(path, durability="process") as store:
        fill(store, 2)
        application = apsw.Connection(str(path))
        application.execute("ANALYZE; BEGIN IMMEDIATE")
        SqliteClaimStore(path, busy_timeout=0.01).close()
        application.execute("ROLLBACK")
        application.close()
    with SqliteClaimStore(path) as store:
        assert costly(store) == {}
