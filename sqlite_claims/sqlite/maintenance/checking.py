"""The search for damage in a store. The search consists of SQLite's integrity check, and of a search for schema
objects, values and counts that a store never writes.

Each table is read page by page. Each page is read in a short read transaction, so that a long check delays no
checkpoint. The comparison of a page with other tables runs in the same transaction. Bad content of the file leads to a
finding, and the check continues. An exception is raised only if the whole check has to end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import apsw

from .. import bad_values, schema
from ..statements import sql
from .file_findings import has_journal, other_driver_findings, side_file_findings
from .long_read import LongRead

if TYPE_CHECKING:
    from ..database import Database

FINDINGS_MAX = 1_000


def check(db: Database, more: Sequence[str]) -> LongRead[list[str]]:
    """Return a long read that searches for damage. The result of the read has one sentence for each finding, at most
    ``FINDINGS_MAX`` sentences. ``more``: findings that are already known."""
    if has_journal(db.path):
        return _Unread(db, [*side_file_findings(db.path), *more])

    def read(connection: apsw.Connection, go_on: Callable[[], None]) -> list[str]:
        connection.execute(sql.commit)  # end the transaction, so that each page is read on a separate snapshot
        found: list[str] = []
        for finding in _findings(connection, go_on):
            if len(found) == FINDINGS_MAX:
                found.append(f"there are more findings: these are the first {FINDINGS_MAX:,}")
                break
            found.append(finding)
        return [*found, *side_file_findings(db.path), *other_driver_findings(db.path), *more]

    return LongRead(db, read)


class _Unread(LongRead[list[str]]):
    """A check that opens no connection, because a new connection would roll the journal back into the database."""

    def __init__(self, db: Database, found: list[str]) -> None:
        super().__init__(db, lambda *_: found)
        self._found = found

    def run(self) -> list[str]:
        return self._found


def _findings(connection: apsw.Connection, go_on: Callable[[], None]) -> Iterator[str]:
    readable = True

    def objects() -> Iterator[str]:
        nonlocal readable
        found, readable = schema.differences(connection.execute)
        yield from found

    yield from bad_values.guarded("the schema", objects)
    yield from bad_values.guarded("SQLite", lambda: _integrity(connection.execute))
    if readable:
        yield from bad_values.findings(connection.execute, go_on)


def _integrity(execute: Callable[..., apsw.Cursor]) -> Iterator[str]:
    for (text,) in execute(sql.integrity_check):  # after some findings, this statement may raise an error
        if text != "ok":
            yield f"SQLite: {text}"
