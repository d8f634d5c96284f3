"""The cost of a scan, in SQLite's steps, does not depend on the number of waiting tasks."""

from __future__ import annotations

import apsw
import pytest

from sqlite_claims.sqlite.scan import Scanner

from .conftest import Open
from .tables import STATEMENTS, Row, lanes

NOW = 10**9


def steps(connection: apsw.Connection, scanner: Scanner, *question: object) -> int:
    """Count the instructions of SQLite's virtual machine that a scan runs, in tens."""
    count = 0

    def step() -> bool:
        nonlocal count
        count += 1
        return False

    connection.set_progress_handler(step, 10)
    scanner.ready_ids(*question)  # type: ignore[arg-type]
    connection.set_progress_handler(None)
    return count


@pytest.mark.parametrize("aging", [None, 10_000])
@pytest.mark.parametrize("limit", [1, 10])
def test_twenty_times_the_backlog_costs_nothing(scan: Open, aging: int | None, limit: int) -> None:
    def cost(backlog: int) -> int:
        rows = (Row(i, lane=1 + i % 3, priority=1 + i // 3 % 5, next_at=i) for i in range(1, backlog + 1))
        return steps(*scan(rows), lanes(1, 2, 3), NOW, aging, limit, False)

    assert abs(cost(20_000) - cost(1000)) <= 2


def test_tasks_of_other_workers_and_tasks_not_due_cost_nothing(scan: Open) -> None:
    wanted = [Row(1, lane=5, priority=3), Row(2, lane=5, priority=4)]
    others = [Row(100 + i, lane=4 + 2 * (i % 2), priority=1) for i in range(2000)]
    others += [Row(10_000 + i, lane=5, priority=1 + i % 5, next_at=NOW + 1) for i in range(2000)]
    others += [Row(20_000 + i, lane=5, next_at=None) for i in range(2000)]
    question = (lanes(5), NOW, None, 2, False)
    # For three of the priorities, there are rows but no due rows. Each of these three priorities costs one seek.
    assert steps(*scan(wanted + others), *question) - steps(*scan(wanted), *question) <= 10


@pytest.mark.parametrize("streams", [1, 200])
def test_rows_read_in_vain_are_bounded_by_rows_taken(scan: Open, streams: int) -> None:
    rows = (Row(i, lane=1 + i % streams, next_at=i) for i in range(1, 20_001))
    connection, scanner = scan(rows)
    chosen = lanes(*range(1, streams + 1))
    # A stream costs one seek, about 20 instructions. A row costs fewer than 20 instructions, or about 50 if the row
    # needs a separate seek.
    assert steps(connection, scanner, chosen, NOW, None, 400, False) < 2 * streams + 5 * 400


@pytest.mark.parametrize("name", ["head", "range"])
def test_no_plan_scans_or_sorts(scan: Open, name: str) -> None:
    connection, _ = scan([])
    statement = getattr(STATEMENTS, name)
    plan = [
        str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * (3, 6)[name == "range"])
    ]
    seeks = [step for step in plan if step.startswith(("SEARCH", "SCAN", "USE TEMP"))]
    wanted = "SEARCH claims_tasks USING COVERING INDEX claims_task_next (lane=? AND priority"
    assert seeks, plan
    assert all(step.startswith(wanted) for step in seeks), (
        f"the scan's {name} statement no longer seeks in claims_task_next alone; with a long backlog every look for "
        f"work would read or sort all of it. The plan now: {plan}"
    )


def test_the_instance_of_a_row_is_found_by_two_keys(scan: Open) -> None:
    connection, _ = scan([])
    plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {STATEMENTS.instance_state}", (1,))]
    assert [step for step in plan if step.startswith(("SEARCH", "SCAN"))] == [
        "SEARCH claims_instances USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH claims_tasks USING INTEGER PRIMARY KEY (rowid=?)",
    ], f"asking for the state of a row's instance must cost two seeks by rowid. The plan now: {plan}"


def test_the_plans_hold_for_a_table_that_was_analysed_while_it_was_tiny(scan: Open) -> None:
    connection, scanner = scan([Row(1), Row(2)])
    connection.execute("ANALYZE")
    for statement, length in ((STATEMENTS.head, 3), (STATEMENTS.range, 6)):
        plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * length)]
        assert not [step for step in plan if step.startswith(("SCAN", "USE TEMP"))], plan
    assert list(scanner.ready_ids(lanes(1), NOW, None, 10, False)) == [1, 2]
