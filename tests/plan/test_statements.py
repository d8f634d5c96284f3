"""The query plan of each named statement uses the indexes, for any contents of the file."""

from __future__ import annotations

import re
from array import array
from pathlib import Path
from typing import Any, get_args, get_type_hints

import apsw
import apsw.ext
import pytest

import sqlite_claims
from sqlite_claims import SqliteClaimStore
from sqlite_claims.sqlite import rows, statements
from sqlite_claims.sqlite.statements import Statements, sql

STATEMENTS = sql.all()
_NO_PLAN = re.compile(r"(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|PRAGMA)\b")
# Scans that are always allowed: of values given by the caller, and of rows that the same statement has just found.
_SMALL = re.compile(
    r"SCAN (c|l|carray) VIRTUAL TABLE|SCAN \d+-ROW VALUES CLAUSE|SCAN \d+ CONSTANT ROW|"
    r"SCAN (p|held|dependent|lane|used)\b"
)

# Statements that may contain more scans, each with the reason.
ALLOWED: dict[str, dict[str, str]] = {
    **{name: {"SCAN sqlite_schema": "once an opening; a few dozen rows"} for name in ("named_like_ours", "triggers")},
    "temporary_of_our_names": {"SCAN sqlite_temp_schema": "once a change of the schema by the caller's own SQL"},
    "lowered_sequences": {"SCAN sqlite_sequence": "once a change of the schema by the caller's own SQL; a row a table"},
    "check_meta": {
        "SCAN claims_lanes": "counts them, once a check",
        "SCAN CONSTANT ROW": "where there is no row",
        "SCAN claims_meta": "which has one row",
    },
    "check_sequence": {"SCAN sqlite_sequence": "once a check; a row a table"},
    "cycle_candidates": {"USE TEMP B-TREE FOR DISTINCT": "of a page's rows"},
    "page_of_key": {"SCAN CONSTANT ROW": "one row"},
    "check_key": {"SCAN k": "once a check"},
    "objects": {"SCAN sqlite_schema": "once a check; a few dozen rows"},
    "tables_that_refer": {
        "SCAN m": "once a check; a few dozen rows",
        "SCAN f VIRTUAL TABLE INDEX 0:": "the foreign keys of one table",
    },
    "has_anything": {"SCAN sqlite_master": "once a restore; a few dozen rows"},
    "statistics_tables": {"SCAN sqlite_schema": "once an opening; a few dozen rows"},
    "sessions": {"SCAN claims_sessions": "asks the kernel about each, at most every half second"},
    "workers": {
        "SCAN s": "lists them all",
        "SEARCH t USING AUTOMATIC COVERING INDEX (session=?) LEFT-JOIN": "of the claims held now, for people",
    },
    "queues": {"SCAN claims_queues": "once a prune that finds no more instances"},
    "lanes_of_queues": {"SCAN claims_queues": "as for queues"},
    "limit_counts": {"USE TEMP B-TREE FOR count(DISTINCT)": "of one limit's partitions, for people"},
    "drop_old_rated": {"SCAN claims_rated": "as for queues"},
    "drop_partitions": {"SCAN claims_partitions": "as for queues"},
    "check_all_partitions": {"SCAN claims_partitions": "once a boot"},
    "limits": {"SCAN claims_limits USING INDEX sqlite_autoindex_claims_limits_1": "lists them all"},
    "expired_of_partition": {"USE TEMP B-TREE FOR ORDER BY": "of the claims of one partition"},
    "pruned": {"SCAN claims_pruned": "takes the first row"},
    "dependencies": {"USE TEMP B-TREE FOR ORDER BY": "the names of one task's dependencies, for people"},
    "totals": {"SCAN claims_instances": "the sum over all instances, in stats()"},
    **{
        name: {"SCAN claims_schedules": "one row a schedule, and only where a store has schedules"}
        for name in ("due_schedules", "late_schedules", "count_ticks_from")
    },
    "schedules": {"SCAN claims_schedules USING INDEX sqlite_autoindex_claims_schedules_1": "lists them all"},
    "rows_with_error": {"SCAN claims_errors": "finds what has failed among what has an error"},
    **{
        name: {
            "SCAN t USING INDEX claims_task_due": "an index of nothing but tasks that wait for a time of day",
        }
        for name in ("waiting", "waiting_in_motion", "scheduled_of_instance")
    },
}

# Statements on tables that exist only after an ANALYZE. test_statistics.py tests these statements.
_OF_ANALYZE = {"statistics", "drop_statistics", "drop_samples"}

PLANNED = [name for name, text in sorted(STATEMENTS.items()) if not _NO_PLAN.match(text) and name not in _OF_ANALYZE]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with SqliteClaimStore(tmp_path_factory.mktemp("plan") / "jobs.db", use_c_core=False) as store:
        yield store._db.connection


def plan_of(connection: apsw.Connection, statement: str) -> list[str]:
    numbered = [int(number) for number in re.findall(r"\?(\d+)", statement)]
    bindings = [
        apsw.carray(array("q", [1])) if f"carray(?{place})" in statement else 1
        for place in range(1, max(numbered, default=statement.count("?")) + 1)
    ]
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", bindings, can_cache=False)
    return [str(row[3]) for row in rows]


def is_costly(step: str) -> bool:
    return ("SCAN" in step and not _SMALL.match(step)) or "TEMP B-TREE" in step or "AUTOMATIC" in step


@pytest.mark.parametrize("name", PLANNED)
def test_a_statement_reads_no_table_as_a_whole_and_sorts_nothing(connection: Any, name: str) -> None:
    plan = plan_of(connection, STATEMENTS[name])
    costly = [step for step in plan if is_costly(step) and step not in ALLOWED.get(name, {})]
    assert not costly, (
        f"{name} does {costly}: its cost grows with the file. Give it an index it can use, or allow the step here with "
        f"a reason.\n{STATEMENTS[name]}\n" + "\n".join(plan)
    )


def test_each_exception_to_the_rule_is_still_needed(connection: Any) -> None:
    for name, steps in ALLOWED.items():
        plan = plan_of(connection, STATEMENTS[name])
        assert set(steps) <= set(plan), f"{name} no longer does {set(steps) - set(plan)}: allow no more than it needs"


@pytest.mark.parametrize(
    "name", ["scan_head", "scan_range", "claim_one", "complete_plain", "task_found", "sweep_state"]
)
def test_the_claim_path_uses_the_index_of_what_can_be_claimed_or_the_row_itself(connection: Any, name: str) -> None:
    for step in plan_of(connection, STATEMENTS[name]):
        assert "claims_tasks" not in step or "USING" in step, step


def test_every_statement_is_used_and_declared() -> None:
    folder = Path(sqlite_claims.__file__).parent
    used = {
        name
        for path in folder.rglob("*.py")
        for name in re.findall(r"\bsql\.([a-z_]+)\b(?!\()", path.read_text("utf-8"))
    }
    assert set(STATEMENTS) - used == set(), "statements that nothing uses: delete them"
    assert set(STATEMENTS) == set(Statements.__annotations__), "declared names and those of sql/*.sql differ"


# The class or the tuple type of each statement's rows; None if a statement returns no rows.
ROWS: dict[str, Any] = {
    name: next(iter(get_args(hint)), None)
    for name, hint in get_type_hints(Statements, vars(statements) | vars(rows)).items()
}


def columns_of(connection: apsw.Connection, name: str) -> list[str]:
    """Return the names of a statement's result columns. The statement is prepared but not run."""
    statement = STATEMENTS[name]
    bindings = [None] * max([int(number) for number in re.findall(r"\?(\d+)", statement)] or [statement.count("?")])
    return [column[0] for column in apsw.ext.query_info(connection, statement, bindings).description]


@pytest.mark.parametrize("name", [name for name in sorted(STATEMENTS) if name not in _OF_ANALYZE])
def test_the_declared_row_has_the_columns_of_the_statement(connection: Any, name: str) -> None:
    row = ROWS[name]
    columns = columns_of(connection, name)
    if hasattr(row, "_fields"):
        assert columns == list(row._fields)
    elif re.match("PRAGMA", STATEMENTS[name]) and row is None:
        pass  # this statement changes a setting and returns the new value, which no caller reads
    else:
        assert len(columns) == (0 if row is None else len(get_args(row)))


def test_no_statement_contains_the_number_of_a_state_or_a_side() -> None:
    folder = Path(sqlite_claims.__file__).parent / "sqlite" / "sql"
    bare = re.compile(r"\bstate (?:=|!=|<|>=?|IN \(|BETWEEN) ?\d|(?<![\w.])\d{8,}")
    found = {
        f"{path.name}: {line.strip()}"
        for path in folder.glob("[a-z]*.sql")
        for line in path.read_text("utf-8").splitlines()
        if bare.search(line)
    }
    assert found == set(), "write the names of codes.py, such as {task.claimed} and {never}"
