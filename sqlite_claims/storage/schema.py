"""The tables: are they there, in which version, and how they get to the newest."""

from __future__ import annotations

import contextlib

import apsw

from ..errors import SchemaVersionError, StoreUnavailableError
from ..lease.clock import Clock
from .connection import connect_to_file_alone
from .statements import migrations, sql

VERSION = migrations()[-1][0]


def version_of(connection: apsw.Connection) -> int | None:
    """The schema version of the file, or ``None`` where it has no tables of ours. Reads only."""
    if not connection.execute(sql.has_tables).fetchall()[0][0]:
        return None
    rows = connection.execute(sql.schema_version).fetchall()
    return int(str(rows[0][0])) if rows else None


def peek(path: str) -> None:
    """Refuse, for who may not write and before SQLite makes a -wal and a -shm that such a connection leaves behind,
    what the file alone tells is no store. To be called where there is no -wal."""
    with contextlib.suppress(apsw.Error), contextlib.closing(connect_to_file_alone(path)) as connection:
        check(connection, path, create=False, read_only=True)


def check(connection: apsw.Connection, path: str, *, create: bool, read_only: bool) -> bool:
    """Refuse, before anything is written, a file that can't be used. Returns whether it must be migrated."""
    version = version_of(connection)
    if version is None:
        if read_only or not create:
            raise StoreUnavailableError(f"{path}: an SQLite database without a claim store (create=True would add one)")
        return True
    if version > VERSION:
        raise SchemaVersionError(
            f"{path}: schema version {version}, but this library knows versions up to {VERSION}; upgrade sqlite-claims"
        )
    if version < VERSION and read_only:
        raise SchemaVersionError(f"{path}: schema version {version} needs an upgrade; open it once for writing")
    return version < VERSION


def forget_statistics(connection: apsw.Connection) -> bool:
    """Drop what an ANALYZE of the application's has noted of our tables: of a store that was small then it makes plans
    that scan, and keeps them however large the store grows. Returns whether this connection has read any."""
    tables = [name for (name,) in connection.execute(sql.statistics_tables).fetchall()]
    if not tables or not connection.execute(sql.statistics).fetchall()[0][0]:
        return False
    with contextlib.suppress(apsw.BusyError):  # left to who opens the file next
        connection.execute(sql.drop_statistics)
        if "sqlite_stat4" in tables:
            connection.execute(sql.drop_samples)
    return True


def migrate(connection: apsw.Connection, clock: Clock, scripts: list[tuple[int, str]] | None = None) -> None:
    """Bring the file to the newest version, each step in a transaction of its own. Two processes may race here."""
    for version, script in migrations() if scripts is None else scripts:
        connection.execute(sql.begin_write)
        try:
            current = version_of(connection)
            if (current or 0) < version:
                connection.execute(script)
                if current is None:
                    boot = clock.boot_us()
                    # Store time starts where the wall clock is, to be readable in a shell; nothing depends on it.
                    anchor = clock.wall_us() - boot
                    sleep = boot - clock.awake_us()
                    connection.execute(sql.create_meta, (version, clock.boot_id(), anchor, boot + anchor, sleep))
                else:
                    connection.execute(sql.set_schema_version, (version,))
            connection.execute(sql.commit)
        except BaseException:
            if connection.in_transaction:
                connection.execute(sql.rollback)
            raise
