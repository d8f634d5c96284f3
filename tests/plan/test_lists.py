"""The cost of a list of a few tasks, in SQLite's steps, does not depend on the number of tasks that the list leaves
out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import NewTask, SqliteClaimStore


def steps(path: Path, backlog: int, wanted: dict[str, Any]) -> int:
    """Count the instructions of SQLite's virtual machine, in tens, for reading a complete list. The store also contains
    the given number of other ready tasks."""
    count = 0

    def step() -> bool:
        nonlocal count
        count += 1
        return False

    with SqliteClaimStore(path / f"{backlog}.db", durability="process", use_c_core=False) as store:
        store.add_instance("i", [NewTask(f"t{number}") for number in range(backlog)])
        store.add_instance("j", [NewTask("held", kind="x", priority=1), NewTask("failed", kind="x", priority=1)])
        store.claim_task("j", "held", "w", 30)
        claim = store.claim_task("j", "failed", "w", 30)
        assert claim is not None
        store.fail_task(claim, "no", retry=False)
        connection = store._db.connection
        connection.set_progress_handler(step, 10)
        found = [task.task_id for task in store.list_tasks(**wanted)]
        connection.set_progress_handler(None)
    assert len(found) <= 1
    return count


@pytest.mark.parametrize(
    "wanted",
    [
        {"states": ["claimed"]},
        {"states": ["failed"]},
        {"states": ["failed"], "kinds": ["x"]},
        {"states": ["scheduled"]},
        {"states": ["completed", "cancelled", "blocked"]},
        {"kinds": ["of nobody"]},
        {"instance_id": "i", "states": ["failed", "completed"]},
        {"instance_id": "i", "kinds": ["of nobody"]},
    ],
)
def test_a_list_of_few_tasks_reads_none_of_many_others(tmp_path: Path, wanted: dict[str, Any]) -> None:
    # The difference is not zero, because the larger instance has an own lane, and this lane costs a few steps.
    assert abs(steps(tmp_path, 20_000, wanted) - steps(tmp_path, 1000, wanted)) <= 20
