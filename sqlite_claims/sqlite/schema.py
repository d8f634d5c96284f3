"""The store's tables: this module checks that the tables exist, reads their schema version, and migrates the tables to
the newest version."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import apsw

from ..clock import Clock
from ..errors import SchemaVersionError, StoreCorruptError, StoreUnavailableError
from ..validate import shown
from . import older_schema
from .connection import connect_to_file_alone
from .files.copies import identity_of
from .open_files import is_locked, refuse_missing
from .statements import migrations, sql

VERSION = migrations()[-1][0]
_NAMES = re.compile(r"^(?:CREATE TABLE|ALTER TABLE \w+ RENAME TO|(DROP TABLE)) (claims_\w+)", re.MULTILINE)


def _tables() -> frozenset[str]:
    """Return the names of the tables of the newest schema version."""
    names: set[str] = set()
    for _, script in migrations():
        renamed = set(re.findall(r"ALTER TABLE (\w+) RENAME TO", script))
        for dropped, name in _NAMES.findall(script):
            (names.discard if dropped else names.add)(name)
        names -= renamed
    return frozenset(names)


TABLES = _tables()
# The tables of all versions.
_OF_OURS = tuple(sorted(TABLES | {name for _, script in migrations() for _, name in _NAMES.findall(script)}))


def version_of(connection: apsw.Connection) -> int | None:
    """Return the schema version of the file, or ``None`` if the file has no tables of a store. Write nothing."""
    path = connection.filename
    rows: list[tuple[Any, ...]] = connection.execute(sql.named_like_ours, (apsw.carray(_OF_OURS),)).fetchall()
    kinds: dict[str, str] = dict(rows)
    for name, kind in kinds.items():
        if kind != "table":
            raise StoreCorruptError(
                f"{path}: {name} is a {kind}, but must be a table; drop the {kind}, or restore a backup"
            )
    if not kinds:
        return None
    if "claims_meta" not in kinds:
        raise StoreCorruptError(
            f"{path}: contains a table {min(kinds)}, but no claims_meta, so the file is not a "
            "store and can't become one"
        )
    rows = connection.execute(sql.schema_version).fetchall()
    version = rows[0][0] if rows else None
    if not isinstance(version, int) or version < 1:
        raise StoreCorruptError(f"{path}: schema_version in claims_meta is {version!r}, which no store writes")
    if version == VERSION and (missing := TABLES - kinds.keys()):
        raise StoreCorruptError(f"{path}: the table {min(missing)} is missing")
    return version


def newer_version(connection: apsw.Connection) -> SchemaVersionError | None:
    """Return an error if a newer version of the library has upgraded the file while this process had the file open."""
    with contextlib.suppress(apsw.Error):
        rows: list[tuple[Any, ...]] = connection.execute(sql.schema_version).fetchall()
        if rows and isinstance(rows[0][0], int) and rows[0][0] > VERSION:
            return SchemaVersionError(
                f"{connection.filename}: a newer version of sqlite-claims has upgraded the file to schema version "
                f"{rows[0][0]}, and this process knows versions up to {VERSION}: restart this process with the newer "
                "version"
            )
    return None


def triggers_on_ours(execute: Callable[..., apsw.Cursor]) -> list[tuple[str, str]]:
    """Return the name and the table of each trigger on the store's tables. A store itself creates no triggers."""
    found: list[tuple[Any, ...]] = execute(sql.triggers, (apsw.carray(_OF_OURS),)).fetchall()
    return [(name, table) for name, table in found]


def not_ours(path: str, name: str) -> str:
    """Return the message about a trigger or a view that changes the effect of the store's statements."""
    return (
        f"{path}: {name!r}, a trigger on the store's tables or a view instead of a table, "
        "does not belong to the store: drop it"
    )


def _refuse_other_tables(connection: apsw.Connection, version: int) -> None:
    """Raise an error if the tables don't match the schema version in the file. A migration would damage such tables."""
    expected = _expected(version)
    rows: list[tuple[Any, ...]] = connection.execute(sql.objects).fetchall()
    for kind, name, _, text in rows:
        if kind == "table" and name in _OF_OURS and _normal(text) != expected.get((kind, name)):
            raise StoreCorruptError(
                f"{connection.filename}: schema_version in claims_meta is {version}, but table "
                f"{name} has the form of a different version"
            )


def differences(execute: Callable[..., apsw.Cursor]) -> tuple[list[str], bool]:
    """Return one sentence for each schema object that differs from the schema that this version of the library creates.
    Only objects with a name of the store, or on a table of the store, are compared. Also return whether all tables of
    the store are real tables, because a read of a view that has a table's name may never end."""
    expected = _expected(VERSION)
    present: dict[tuple[str, str], tuple[str, str]] = {}
    rows: list[tuple[Any, ...]] = execute(sql.objects).fetchall()
    for kind, name, table, text in rows:
        present[kind, name] = table, _normal(text)
    findings = [f"{kind} {name} is missing" for kind, name in expected.keys() - present.keys()]
    for (kind, name), (table, text) in present.items():
        if (kind, name) in expected:
            if text != expected[kind, name]:
                findings.append(f"{kind} {name} differs from the one that the store creates: {shown(text)}")
        elif table in TABLES or name in TABLES:
            findings.append(f"{kind} {name!r} on {table} does not belong to the store: {shown(text)}")
    for name, table in execute(sql.tables_that_refer, (apsw.carray(_OF_OURS),)).fetchall():
        if name not in TABLES:
            findings.append(f"table {name}: a foreign key refers to {table}, whose rows the store removes")
    return sorted(findings), all(("table", name) in present for name in TABLES)


@lru_cache
def _expected(version: int) -> dict[tuple[str, str], str]:
    """Return the SQL texts of the tables, indexes and views of a schema version, as SQLite stores these texts."""
    with contextlib.closing(apsw.Connection(":memory:")) as connection:
        for number, script in migrations():
            if number <= version:
                connection.execute(script)
        rows: list[tuple[Any, ...]] = connection.execute(sql.objects).fetchall()
        return {(kind, name): _normal(text) for kind, name, _, text in rows}


def _normal(text: str | None) -> str:
    """Return SQL text without the parts that SQLite may change: spaces, comments and quotes around names."""
    return re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", text or "")).replace('"', "").strip()


def forbidden_change(execute: Callable[..., apsw.Cursor]) -> str:
    """Return a description of a forbidden change that the caller's own SQL has made to the schema; empty if there is
    none.

    The authorizer can't refuse such a change, because SQLite reports to the authorizer neither new names nor rows that
    SQLite itself changes."""
    found = [name for (name,) in execute(sql.temporary_of_our_names).fetchall()]
    if found:
        return f"a temporary object with the name {found[0]}, which belongs to the store"
    found = [name for (name,) in execute(sql.lowered_sequences).fetchall()]
    if found:
        return f"a write to sqlite_sequence that makes {found[0]} reuse ids"
    return ""


def peek(path: str, wait: float) -> None:
    """Raise an error if a file that is opened for reading is not a store. The check runs before SQLite creates a -wal
    and a -shm file, which a read-only connection would leave behind. Call this only if there is no -wal file, because
    the tables may exist only in a -wal file."""
    with contextlib.suppress(apsw.Error), contextlib.closing(connect_to_file_alone(path)) as connection:
        refuse_missing(path, wait, is_locked)
        check(connection, path, create=False, read_only=True)


def check(connection: apsw.Connection, path: str, *, create: bool, read_only: bool) -> bool:
    """Check a file before the library writes to the file. Raise an error if the file can't be used. Return whether the
    file must be migrated."""
    # Read on one snapshot, because another process may be creating or migrating the tables.
    is_first = not connection.in_transaction
    if is_first:
        connection.execute(sql.begin_read)
    try:
        return _check(connection, path, create=create, read_only=read_only)
    finally:
        if is_first and connection.in_transaction:
            connection.execute(sql.rollback)


def _check(connection: apsw.Connection, path: str, *, create: bool, read_only: bool) -> bool:
    version = version_of(connection)
    if version is None:
        if read_only or not create:
            raise StoreUnavailableError(f"{path}: an SQLite database without a claim store (create=True adds one)")
        return True
    if version > VERSION:
        raise SchemaVersionError(
            f"{path}: schema version {version}, but this library knows versions up to {VERSION}; upgrade sqlite-claims"
        )
    if version < VERSION:
        _refuse_other_tables(connection, version)
    if version < VERSION and read_only and version != older_schema.VERSION:
        raise SchemaVersionError(f"{path}: schema version {version} needs an upgrade; open it once for writing")
    if not read_only and (triggers := triggers_on_ours(connection.execute)):  # a read-only store runs no trigger
        name, table = triggers[0]
        raise StoreCorruptError(f"{path}: trigger {name!r} on {table} does not belong to the store: drop it")
    return version < VERSION


def forget_statistics(connection: apsw.Connection) -> bool:
    """Delete statistics about the store's tables that an ANALYZE of the application has stored. If the statistics were
    made while the store was small, SQLite would scan whole tables even after the store has become large. Return whether
    this connection may have read the statistics."""
    tables = [name for (name,) in connection.execute(sql.statistics_tables).fetchall()]
    if not tables or not connection.execute(sql.statistics).fetchall()[0][0]:
        return False
    with contextlib.suppress(apsw.BusyError):  # the next process that opens the file deletes the statistics
        connection.execute(sql.drop_statistics)
        if "sqlite_stat4" in tables:
            connection.execute(sql.drop_samples)
    return True


def migrate(connection: apsw.Connection, clock: Clock, scripts: list[tuple[int, str]] | None = None) -> None:
    """Migrate the file to the newest schema version, each step in a separate transaction. Two processes may migrate a
    file at the same time."""
    for version, script in migrations() if scripts is None else scripts:
        connection.execute(sql.begin_write)
        try:
            current = version_of(connection)
            if (current or 0) < version:
                connection.execute(script)
                if current is None:
                    boot = clock.boot_us()
                    # The store time of a new file starts at the wall-clock time, so that stored times are readable in
                    # an SQLite shell. No code depends on this start.
                    anchor = clock.wall_us() - boot
                    sleep = boot - clock.awake_us()
                    boot_id = f"{clock.boot_id()} {identity_of(connection.filename)}"
                    connection.execute(sql.create_meta, (version, boot_id, anchor, boot + anchor, sleep))
                else:
                    connection.execute(sql.set_schema_version, (version,))
            connection.execute(sql.commit)
        except BaseException:
            if connection.in_transaction:
                connection.execute(sql.rollback)
            raise
