"""Code that only mypy --strict reads (`make lint`) and that never runs: wrong calls between the layers are type errors.

Each wrong call is marked with the error that it must cause. If the error is missing, mypy reports the mark as unused.
"""

from __future__ import annotations

from sqlite_claims import InMemoryClaimStore, SqliteClaimStore, TaskClaim
from sqlite_claims.backend import Backend, TransactionBackend, WriterBackend
from sqlite_claims.interface import WorkerSession
from sqlite_claims.sqlite.backend import SqliteBackend
from sqlite_claims.sqlite.database import Database
from sqlite_claims.sqlite.long_transaction import LongTransaction
from sqlite_claims.sqlite.operations import adding, by_token, reading
from sqlite_claims.sqlite.statements import sql


def engines(of_file: SqliteClaimStore, in_memory: InMemoryClaimStore) -> list[Backend[WorkerSession]]:
    return [of_file._backend, in_memory._backend]


def transactions(of_file: SqliteClaimStore, in_memory: InMemoryClaimStore) -> list[TransactionBackend]:
    return [of_file._backend.transaction(1.0), in_memory._backend.transaction(1.0)]


def from_a_method_to_an_engine(backend: WriterBackend, claim: TaskClaim) -> None:
    # A correct call.
    backend.claim_task(instance_id="i", task_id="t", worker_id="w", ttl_us=30_000_000, session_id=None)
    # Wrong calls: positional arguments. The arguments of each call have one type, so a swap of two positional arguments
    # would be no type error.
    backend.claim_task("i", "t", "w", 30_000_000, None)  # type: ignore[call-arg]
    # A missing argument, a wrong name, a wrong type.
    backend.claim_task(instance_id="i", task_id="t", worker_id="w", ttl_us=30_000_000)  # type: ignore[call-arg]
    backend.release_task(claim, delay_s=1.0)  # type: ignore[call-arg]
    backend.complete_task(claim, "output")  # type: ignore[arg-type]
    backend.add_task("i", [], skip_existing=False)  # type: ignore[attr-defined]


def from_an_engine_to_an_operation(
    backend: SqliteBackend, db: Database, transaction: LongTransaction, claim: TaskClaim
) -> None:
    # A correct call.
    backend._write(by_token.renew, False, claim, ttl_us=30_000_000)
    backend._write(adding.add_tasks, True, "i", [], skip_existing=True)
    backend._read(reading.get_task, instance_id="i", task_id="t")
    # Wrong calls, which pass arguments of the same type without their names.
    backend._write(by_token.renew, False, claim, 30_000_000)  # type: ignore[call-arg]
    backend._read(reading.get_task, "i", "t")  # type: ignore[call-arg]
    # Swapped arguments.
    backend._write(adding.add_tasks, True, [], "i", skip_existing=True)  # type: ignore[arg-type]
    db.write(adding.add_tasks, True, [], "i", skip_existing=True)  # type: ignore[arg-type]
    # A missing argument.
    backend._write(by_token.renew, False, claim)  # type: ignore[call-arg]
    backend._read(reading.get_task, instance_id="i")  # type: ignore[call-arg]
    db.read(reading.get_task, instance_id="i")  # type: ignore[call-arg]
    transaction.run(reading.get_task, task_id="t")  # type: ignore[call-arg]
    db.write(adding.add_tasks, True, "i", [])  # type: ignore[call-arg]


def statements(db: Database) -> None:
    # Correct uses.
    token: int = db.rows(sql.task_by_name, "i", "t")[0].token
    version: int = db.value(sql.lanes_version)

    # A misspelt statement or column, and too many columns.
    db.rows(sql.task_by_nane, "i", "t")  # type: ignore[attr-defined]
    token = db.rows(sql.task_by_name, "i", "t")[0].tokens  # type: ignore[attr-defined]
    version, token = db.rows(sql.lanes_version)[0]  # type: ignore[misc]

    # The use of a column as a value of a wrong type, and the use of rows of a statement that returns no rows.
    worker: str = db.rows(sql.task_by_name, "i", "t")[0].token  # type: ignore[assignment]
    db.rows(sql.claim_one, worker, version, token)  # type: ignore[arg-type]
