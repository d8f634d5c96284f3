"""Reads of a file with schema version 2 by a read-only store, which can't migrate the file.

The store's statements use the tables of version 3. This module replaces each table in a statement by the table of
version 2, or by an empty table if version 2 has no such table.
"""

from __future__ import annotations

import contextlib
import re
from functools import lru_cache
from typing import Any

import apsw

from .statements import migrations

VERSION = 2
_INDEXED = re.compile(r"\b(claims_[a-z_]+)( \w+)? INDEXED BY \w+")
_TABLE = re.compile(r"\b(?:sqlite_autoindex_)?(claims_[a-z_]+?)(_1)?\b")


@lru_cache
def _replacements() -> dict[str, str]:
    """Return the SQL that replaces each table of version 3. The names of the tables are the keys."""
    (_, first), (_, second), (_, third), *_ = migrations()
    renamed = re.findall(r"^ALTER TABLE (\w+) RENAME TO (\w+)", third, re.MULTILINE)
    found = {new: old for old, new in renamed}
    with contextlib.closing(apsw.Connection(":memory:")) as connection:
        connection.execute(first + second)
        before = _tables(connection)
        connection.execute(third)
        after = _tables(connection)
    for table in after.keys() - before.keys() - found.keys():
        columns = ", ".join(f'NULL AS "{column}"' for column in after[table])
        found[table] = f"(SELECT {columns} WHERE FALSE)"
    found["claims_lanes"] = "(SELECT *, 0 AS traits FROM claims_lane)"
    found["claims_meta"] = (
        "(SELECT *, aging AS aging_interval, 0 AS expiring, 0 AS limited, NULL AS next_tick, 0 AS completed_deleted "
        "FROM claims_meta)"
    )
    return found


def _tables(connection: apsw.Connection) -> dict[str, list[str]]:
    rows: list[tuple[Any, ...]] = connection.execute(
        "SELECT m.name, c.name FROM sqlite_schema m CROSS JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"
    ).fetchall()
    tables: dict[str, list[str]] = {}
    for table, column in rows:
        tables.setdefault(table, []).append(column)
    return tables


@lru_cache(maxsize=512)
def translated(statement: str) -> str:
    """Return a reading statement of the store, changed so that the statement reads a file with version 2."""
    replacements = _replacements()
    # A table that is replaced by a query has no index.
    statement = _INDEXED.sub(
        lambda found: found[0].partition(" INDEXED")[0] if replacements.get(found[1], "").startswith("(") else found[0],
        statement,
    )
    return _TABLE.sub(lambda name: name[0].replace(name[1], replacements.get(name[1], name[1])), statement)
