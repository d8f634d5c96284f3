"""For mypy --strict alone (`make lint`), never run: mistakes in calls of operations and statements are type errors.

Each mistake is marked with the error that it has to cause. Without that error mypy reports the mark as unused.
"""

from __future__ import annotations

from sqlite_claims.sqlite.database import Database
from sqlite_claims.sqlite.operations import adding, claiming, reading
from sqlite_claims.sqlite.statements import sql
from sqlite_claims.store import SqliteClaimStore


def calls(store: SqliteClaimStore, db: Database) -> None:
    # As they should be.
    store._run(claiming.claim_task, "i", "t", "w", 30_000_000, None)
    store._run_durably(adding.add_tasks, "i", [], True)
    store._read(reading.get_task, "i", "t")

    # Swapped arguments.
    store._run(claiming.claim_task, "i", "t", 30_000_000, "w", None)  # type: ignore[arg-type]
    store._run_durably(adding.add_tasks, "i", True, [])  # type: ignore[arg-type]
    db.write(adding.add_tasks, True, "i", True, [])  # type: ignore[arg-type]
    with store.transaction() as tx:
        tx._run(claiming.claim_task, "i", "t", 30_000_000, "w", None)  # type: ignore[arg-type]

    # Dropped arguments.
    store._run(claiming.claim_task, "i", "t", "w", None)  # type: ignore[call-arg]
    store._read(reading.get_task, "i")  # type: ignore[call-arg]
    db.read(reading.get_task, "i")  # type: ignore[call-arg]
    db.nested(reading.get_task, "i")  # type: ignore[call-arg]
    db.write(adding.add_tasks, "i", [], True)  # type: ignore[call-arg]


def statements(db: Database) -> None:
    # As they should be.
    token: int = db.rows(sql.task_by_name, "i", "t")[0].token
    version: int = db.value(sql.lanes_version)

    # A misspelt statement or column, and too many columns.
    db.rows(sql.task_by_nane, "i", "t")  # type: ignore[attr-defined]
    token = db.rows(sql.task_by_name, "i", "t")[0].tokens  # type: ignore[attr-defined]
    version, token = db.rows(sql.lanes_version)[0]  # type: ignore[misc]

    # A column as another type, and rows of a statement that returns none.
    worker: str = db.rows(sql.task_by_name, "i", "t")[0].token  # type: ignore[assignment]
    db.rows(sql.claim_one, worker, version, token)  # type: ignore[arg-type]
