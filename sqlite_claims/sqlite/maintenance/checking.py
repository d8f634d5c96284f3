"""Looking for damage: what SQLite says, and every object, value and count in the file that no store writes.

Tables are read by pages, each in a short read transaction, so that a long check keeps nothing from being copied out of
the -wal; comparisons with other tables stay within one page. Bad content of the file leads to a
finding or to the next page, never to an exception other than those that end the whole check.
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
    """Everything that isn't as it should be, a sentence each, at most ``FINDINGS_MAX``. ``more``: found already."""
    if has_journal(db.path):
        return _Unread(db, [*side_file_findings(db.path), *more])

    def read(connection: apsw.Connection, go_on: Callable[[], None]) -> list[str]:
        connection.execute(sql.commit)  # each page has a snapshot of its own
        found: list[str] = []
        for finding in _findings(connection, go_on):
            if len(found) == FINDINGS_MAX:
                found.append(f"there are more findings: these are the first {FINDINGS_MAX:,}")
                break
            found.append(finding)
        return [*found, *side_file_findings(db.path), *other_driver_findings(db.path), *more]

    return LongRead(db, read)


class _Unread(LongRead[list[str]]):
    """A check that reads nothing: a new connection would take the journal for one to be rolled back."""

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
    for (text,) in execute(sql.integrity_check):  # which may find something and then come no further
        if text != "ok":
            yield f"SQLite: {text}"
