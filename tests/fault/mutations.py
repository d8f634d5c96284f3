"""Replace one value in a store by a wrong value, as a faulty or hostile program might do, and call nearly every method
of the store."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from sqlite_claims import BackendError, NewTask, RetryPolicy, SqliteClaimStore
from sqlite_claims.sqlite.operations import reading
from sqlite_claims.sqlite.statements import sql

DEEP = "[" * 100_000
INTEGERS = (-(2**63), -(2**32) - 5, -1, 0, 1, 2, 3, 7, 99, 2**31, 2**32 + 1, 2**53, 2**60 + 1, 2**61, 2**62, 2**63 - 1)
TEXTS = ("", "x", "*", "a\0b", "é", "n" * 257, '["x"', '["y","x"]', '["x", "y"]', '["x","x"]', "[[1],{}]", "{}", DEEP)
NO_UTF8 = "CAST(x'ff61fe' AS TEXT)"
# The keys of the tables without row ids.
KEYS = {
    "claims_dependencies": "task, depends_on",
    "claims_heads": "side, priority",
    "claims_keys": "key",
    "claims_rated": "partition, claimed_at",
}
REALS = (float("inf"), -1.0, 0.5, 1e300)


def sound(path: Path) -> None:
    """Make a store with tasks in many states."""
    store: Any
    with SqliteClaimStore(path, durability="process") as store:
        for number in range(8):
            tasks = [
                NewTask("a", bytes([number]) * 70, kind=f"k{number % 3}", tags=["x", "y"][: number % 3]),
                NewTask("b", depends_on=["a"], retry=RetryPolicy(2.0), max_lost=1),
                NewTask("c", priority=1 + number % 5, delay=number),
                NewTask("é", depends_on=["a", "b"]),
            ]
            store.add_instance(f"i{number}", tasks, definition_hash="h")
        for number in range(4):
            later = datetime.now(UTC) + timedelta(days=number + 1)
            options: dict[str, Any] = {"unique_key": f"é{number}"} if number % 2 else {"timeout": 1.5 + number}
            options |= {"metadata": {"a": "é"}} if number < 2 else {"expires_at": later}
            store.enqueue("k9", instance_id=f"o{number}", priority=5, **options)
        store.add_tasks("i7", [NewTask("day", available_at=datetime.now(UTC) + timedelta(days=1))])
        store.add_instance("ended", [NewTask("t")])
        store.complete_task(store.claim_task("ended", "t", "w", 60))
        store.add_instance("pruned", [NewTask("t")])
        store.complete_task(store.claim_task("pruned", "t", "w", 60))
        claimed = [one.claim for one in store.claim_available_tasks("w", 7, 600)]
        store.report_progress(claimed[5], done=1, total=2.5, note="half", checkpoint=b"state")
        store.complete_tasks([(claim, b"o" * 90) for claim in claimed[:3]])
        store.fail_task(claimed[3], "no good", retry=False)
        store.fail_task(claimed[4], "not yet")
        store.release_task(claimed[5])
        store.claim_available_tasks("w", 2, None)
        store.set_limit("disk", concurrency=2)
        store.set_limit("api", rate=(3, 60))
        store.add_instance(
            "limited", [NewTask(f"l{number}", limit=("disk:1", "api")[number % 2]) for number in range(6)]
        )
        store.claim_task("limited", "l0", "w", 60)
        store.claim_task("limited", "l1", "w", 60)
        session = store.open_session("s")
        store.claim_available_tasks("s", 2, 600, session=session)
        session.drop()  # as if the process of the session had died
        store.pause_instance("i3")
        store.cancel_instance("i4", "because")
        # Set the instance's row as a prune leaves it when the process is killed before the instance's tasks are
        # deleted.
        row = store._db.read(reading.instance_row, "pruned")
        store._db.write(lambda db: db.execute(sql.drop_instance, (row,)), False)
        store._db.write(lambda db: db.execute(sql.add_pruned, (row,)), False)
        assert store.check() == []


def columns(path: Path) -> list[tuple[str, str, str]]:
    """Return every column of every table of the store: table, column, type."""
    connection = apsw.Connection(str(path))
    try:
        rows: list[Any] = connection.execute(
            "SELECT m.name, c.name, c.type FROM sqlite_schema m, pragma_table_info(m.name) c"
            " WHERE m.type = 'table' AND m.name GLOB 'claims_*' UNION ALL SELECT 'sqlite_sequence', 'seq', 'INTEGER'"
        ).fetchall()
        return rows
    finally:
        connection.close()


def mutate(path: Path, table: str, column: str, sort: str, choose: random.Random) -> str:
    """Replace one value of the column. Return a description of the change, or ``""`` if the table allows no such
    value."""
    connection = apsw.Connection(str(path))
    try:
        keys = [key for (key,) in connection.execute(f"SELECT {column} FROM {table}")]  # noqa: S608
        if not keys:
            return ""
        at = choose.randrange(len(keys))
        old = keys[at] if not isinstance(keys[at], bytes) else b""
        if sort == "INTEGER":
            near = (old + 1, old - 1, -old) if isinstance(old, int) and abs(old) < 2**62 else ()
            new: Any = choose.choice((*INTEGERS, *near, None))
        elif sort == "TEXT":
            new = choose.choice((*TEXTS, None, *(text for text in keys if text)))
        elif sort == "REAL":
            new = choose.choice(REALS)
        else:
            new = b""
        expression = NO_UTF8 if sort == "TEXT" and choose.random() < 0.1 else "?2"
        where = f"WHERE rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET ?1)"  # noqa: S608
        if key := KEYS.get(table):
            where = f"WHERE ({key}) = (SELECT {key} FROM {table} LIMIT 1 OFFSET ?1)"  # noqa: S608
        if new == old:
            return ""
        try:
            bindings = (at,) if expression == NO_UTF8 else (at, new)
            connection.execute(f"UPDATE {table} SET {column} = {expression} {where}", bindings)  # noqa: S608
        except (apsw.ConstraintError, apsw.MismatchError):
            return ""
        return f"{table}.{column} at {at}: {old!r} -> {expression if expression == NO_UTF8 else repr(new)[:60]}"
    finally:
        connection.close()


def _gather(claims: list[Any], listing: Callable[[], Any]) -> None:
    claims.extend(one for one in listing() if hasattr(one, "token"))


def uses(store: Any) -> Iterator[Callable[[], Any]]:
    """Return one call for each use of the store. Later calls may need the results of earlier calls."""
    claims: list[Any] = []
    yield store.stats
    yield store.list_limits
    for listing in (store.list_instances, store.list_tasks, store.list_claims, store.list_workers):
        yield partial(_gather, claims, listing)
    yield lambda: store.find_available_tasks("w", 50, tags=["x"])
    yield lambda: claims.extend(one.claim for one in store.claim_available_tasks("w", 10, 60))
    yield lambda: store.renew_task_claims(claims, 60)
    for claim in claims[::2]:
        yield partial(store.complete_task, claim, b"result")
    for claim in claims[1::2]:
        yield partial(store.fail_task, claim, "error")
    for name in [f"i{number}" for number in range(8)]:
        for task in ("a", "b", "c", "é"):
            yield partial(store.get_task, name, task)
            yield partial(store.explain_task, name, task)
            yield partial(store.claim_task, name, task, "v", 0)
            yield partial(store.extend_task_claim, name, task, "v", 5)
        yield partial(store.get_instance, name)
        yield partial(store.retry_task, name, "a")
        yield partial(store.pause_instance, name)
        yield partial(store.resume_instance, name)
    yield lambda: store.claim_available_tasks("u", 50, 60)
    yield lambda: store.wait_for_tasks(0)
    yield lambda: store.add_instance("new", [NewTask("a"), NewTask("b", depends_on=["a"], kind="new", tags=["z"])])
    yield lambda: store.open_session("t").close()
    yield lambda: store.cancel_instance("i2", "why")
    yield lambda: store.set_aging_interval(60)
    yield lambda: store.claim_available_tasks("u", 5, 60, kinds=["k1", "new"])
    yield lambda: store.prune(0)


def use(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Open the store and make every call of ``uses``. Return the findings of check() before the calls, the errors that
    the calls raised, and the findings of check() after the calls."""
    first: list[str] = []
    last: list[str] = []
    errors: list[str] = []

    def attempt(call: Callable[[], Any]) -> None:
        try:
            call()
        except BackendError as error:
            errors.append(f"{type(error).__name__}: {error}")

    def opened() -> None:
        with SqliteClaimStore(path, durability="process", busy_timeout=1) as store:
            attempt(lambda: first.extend(store.check()))
            for call in uses(store):
                attempt(call)
            attempt(lambda: last.extend(store.check()))

    def read() -> None:
        with SqliteClaimStore(path, read_only=True) as store:
            first.extend(store.check())

    attempt(read)
    attempt(opened)
    return first, last, errors


def tried(base: Path, table: str, column: str, sort: str, seed: int) -> str:
    """Replace one value and make every call on the changed file. Return a description of the failure, or ``""``."""
    path = base.with_name("mutated.db")
    for old in base.parent.glob("mutated.db*"):
        old.unlink()
    shutil.copy(base, path)
    done = mutate(path, table, column, sort, random.Random(f"{table} {column} {seed}"))
    if not done:
        return ""
    first, last, errors = use(path)
    # opening the store failed, with a message that says why
    if first or (all(table in error for error in errors) and len(errors) == 2):
        return ""
    bad = [error for error in errors if error.startswith(("StoreCorruptError", "BackendError", "StoreUnavailable"))]
    return f"{done}: found nothing, but {bad or last}" if bad or last else ""
