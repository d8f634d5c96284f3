"""Functions that make a store with given rows, and that find the expected order of the rows by sorting."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import apsw

from sqlite_claims.sqlite.scan import ScanStatements
from sqlite_claims.sqlite.statements import migrations, sql

STATEMENTS = ScanStatements(sql.scan_head, sql.scan_range, sql.scan_instance_state)

ADD_TASK = """
INSERT INTO claims_tasks (id, lane, priority, next_at, instance, name, state, available_at, token, attempts, failures,
    losses, max_attempts, max_lost, policy, open_deps, added_wall)
VALUES (?1, ?2, ?3, ?4, ?5, 't' || ?1, 1, 0, 0, 0, 0, 0, 3, 5, 1, 0, 0)
"""
ADD_INSTANCE = """
INSERT INTO claims_instances (id, name, state, moving, definition_hash, total, blocked, completed, failed, cancelled,
    added_wall)
VALUES (?1, 'i' || ?1, ?2, 0, '', 0, 0, 0, 0, 0, 0)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """The columns of a task that a scan reads. ``next_at`` is ``None`` if the task cannot be claimed."""

    id: int
    lane: int = 1
    priority: int = 3
    next_at: int | None = 0
    instance: int = 1


def table(path: Path | str, rows: Iterable[Row], states: dict[int, int] | None = None) -> apsw.Connection:
    """Make a store with these tasks. ``states`` are the states of instances, by id. The first instance is in
    progress."""
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "off")
    with connection:
        for _, script in migrations():
            connection.execute(script)
        connection.executemany(ADD_INSTANCE, ({1: 0} | (states or {})).items())
        connection.executemany(ADD_TASK, ((row.id, row.lane, row.priority, row.next_at, row.instance) for row in rows))
    return connection


def lanes(*ids: int) -> array[int]:
    return array("q", ids)


def in_order(
    rows: Iterable[Row],
    lanes: Collection[int],
    now: int,
    aging: int | None = None,
    limit: int = 2**31 - 1,
    ended: Collection[int] = (),
) -> list[int]:
    """Return the expected answer of a scan, by sorting all rows. The answer leaves out the rows of the instances in
    ``ended``."""

    def place(row: Row) -> tuple[int, ...]:
        assert row.next_at is not None
        if aging is None:
            return row.priority, row.next_at, row.id
        return row.priority * aging + row.next_at, row.id

    due = (row for row in rows if row.lane in lanes and row.next_at is not None and row.next_at <= now)
    return [row.id for row in sorted((row for row in due if row.instance not in ended), key=place)][:limit]
