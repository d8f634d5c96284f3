"""The rows of limits in the file: full partitions have no heads, and a prune removes what no task uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import NewTask, SqliteClaimStore
from sqlite_claims.sqlite.operations import unused_lanes
from sqlite_claims.testing import ManualClock


def rows(store: SqliteClaimStore, table: str) -> int:
    found: list[Any] = store._db.connection.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608
    return int(found[0][0])


def test_a_full_partition_has_no_heads(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.set_limit("a", concurrency=1)
        store.add_instance("i", [NewTask(f"t{number}", limit=f"a:{number % 3}") for number in range(9)])
        assert rows(store, "claims_heads") == 3
        claimed = store.claim_available_tasks("w", 9, None)
        assert len(claimed) == 3
        assert rows(store, "claims_heads") == 0
        store.complete_task(claimed[0].claim)
        assert rows(store, "claims_heads") == 1


def test_a_prune_removes_queues_and_partitions_that_no_task_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unused_lanes, "KEPT", 0)
    clock = ManualClock()
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process", clock=clock) as store:
        store.set_limit("a", concurrency=1)
        store.set_limit("b", rate=(1, 100))
        store.add_instance("gone", [NewTask("t", limit="a:1"), NewTask("u", limit="b:1"), NewTask("v", limit="b:2")])
        store.add_instance("kept", [NewTask("t", limit="a:2")])
        for _ in range(3):
            for claimed in store.claim_available_tasks("w", 9):
                store.complete_task(claimed.claim)
        store.add_instance("new", [NewTask("t", limit="a:2")])
        clock.advance(10)
        assert store.prune(1) == 2
        # The claims of b:1 and b:2 still count for the rate.
        assert (rows(store, "claims_queues"), rows(store, "claims_partitions")) == (1, 3)
        clock.advance(100)
        store.add_instance("soon gone", [NewTask("t", limit="a:3")])
        store.cancel_instance("soon gone")
        clock.advance(10)
        assert store.prune(1) == 1
        assert (rows(store, "claims_queues"), rows(store, "claims_partitions")) == (1, 1)
        assert rows(store, "claims_rated") == 0
        assert store.check() == []
        assert len(store.claim_available_tasks("w", 9)) == 1
