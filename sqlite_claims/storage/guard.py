"""What the caller's own SQL in ``transaction()`` may not do: end the transaction, or write our tables."""

from __future__ import annotations

import apsw

_CONTROL = {apsw.SQLITE_TRANSACTION: "BEGIN, COMMIT or ROLLBACK", apsw.SQLITE_SAVEPOINT: "SAVEPOINT or RELEASE"}
_FILES = {apsw.SQLITE_ATTACH: "ATTACH", apsw.SQLITE_DETACH: "DETACH"}
_WRITES = {
    apsw.SQLITE_INSERT,
    apsw.SQLITE_UPDATE,
    apsw.SQLITE_DELETE,
    apsw.SQLITE_DROP_TABLE,
    apsw.SQLITE_DROP_INDEX,
    apsw.SQLITE_DROP_VIEW,
    apsw.SQLITE_CREATE_TABLE,
    apsw.SQLITE_CREATE_TRIGGER,
    apsw.SQLITE_CREATE_INDEX,
}


class Guard:
    """An authorizer for one statement text: SQLite asks it about each action when it prepares the text."""

    def __init__(self) -> None:
        self.refused = ""

    def judge(self, action: int, first: str | None, second: str | None) -> int:
        """SQLite's answer to an action; notes what was refused."""
        if action in _CONTROL:
            self.refused = f"transaction control ({_CONTROL[action]})"
        elif action in _FILES:
            self.refused = _FILES[action]
        elif action == apsw.SQLITE_ALTER_TABLE and str(second).lower().startswith("claims_"):
            self.refused = f"a change to {second}, which is the store's"
        elif action in _WRITES:
            for table in (first, second):
                if table is not None and table.lower().startswith("claims_"):
                    self.refused = f"a write to {table}, which is the store's"
        return apsw.SQLITE_DENY if self.refused else apsw.SQLITE_OK
