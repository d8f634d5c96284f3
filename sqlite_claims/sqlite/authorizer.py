"""The authorizer decides which actions SQL may perform on a store's connection. SQLite calls the authorizer for each
action when SQLite prepares a statement, and again after a change of the schema. So the authorizer costs nothing while a
statement runs."""

from __future__ import annotations

import re
from functools import lru_cache

import apsw

from .statements import sql

_NEVER = {
    apsw.SQLITE_TRANSACTION: "transaction control (BEGIN, COMMIT or ROLLBACK)",
    apsw.SQLITE_SAVEPOINT: "transaction control (SAVEPOINT or RELEASE)",
    apsw.SQLITE_ATTACH: "ATTACH",
    apsw.SQLITE_DETACH: "DETACH",
}
_WRITES = {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE}
_DEFINITIONS = {
    apsw.SQLITE_CREATE_INDEX,
    apsw.SQLITE_CREATE_TABLE,
    apsw.SQLITE_CREATE_TEMP_INDEX,
    apsw.SQLITE_CREATE_TEMP_TABLE,
    apsw.SQLITE_CREATE_TEMP_TRIGGER,
    apsw.SQLITE_CREATE_TEMP_VIEW,
    apsw.SQLITE_CREATE_TRIGGER,
    apsw.SQLITE_CREATE_VIEW,
    apsw.SQLITE_CREATE_VTABLE,
    apsw.SQLITE_DROP_INDEX,
    apsw.SQLITE_DROP_TABLE,
    apsw.SQLITE_DROP_VIEW,
    apsw.SQLITE_DROP_VTABLE,
}
# PRAGMAs that only read data, even if the PRAGMA has a value. All other PRAGMAs with a value change a setting.
_READING_PRAGMAS = {
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
}
# PRAGMAs for numbers in the file's header that SQLite reserves for the application. The store doesn't use these
# numbers.
_APPLICATION_PRAGMAS = {"application_id", "user_version"}
# PRAGMAs that have an effect without a value. All other PRAGMAs without a value only read data.
_ACTING_PRAGMAS = {"case_sensitive_like", "incremental_vacuum", "optimize", "shrink_memory", "wal_checkpoint"}
# SQLite's own tables that contain rows of the application and rows of the store. SQLite itself deletes and renames rows
# in these tables as part of DROP and ALTER.
_SHARED = {"sqlite_sequence", "sqlite_stat1", "sqlite_stat4"}
_COMMON_TABLE = re.compile(r"(?:\bWITH(?: RECURSIVE)?|\),) (\w+) (?:\([\w, ]+\) )?AS \(")


@lru_cache
def _our_contexts() -> frozenset[str]:
    """Return the names of the common table expressions in the store's statements. SQLite passes such a name to the
    authorizer in the same argument as the name of a trigger or a view."""
    return frozenset(name for text in sql.all().values() for name in _COMMON_TABLE.findall(text))


def _is_ours(name: str | None) -> bool:
    return name is not None and name.lower().startswith("claims_")


class CallerSqlRules:
    """The rules for one piece of the caller's own SQL: the SQL must not end the transaction, write to the store's
    tables, or change settings of the connection."""

    def __init__(self) -> None:
        self.refused = ""
        """A description of the refused action; empty if no action was refused."""
        self.changes_schema = False
        """True if the SQL changes the schema. The caller must then also check the resulting schema."""

    def check(self, action: int, first: str | None, second: str | None) -> int:
        """Return the authorizer's result code for SQLite. Record a refused action in ``refused``."""
        refused = self._why_not(action, first, second)
        if not refused:
            return apsw.SQLITE_OK
        self.refused = refused
        return apsw.SQLITE_DENY

    def _why_not(self, action: int, first: str | None, second: str | None) -> str:
        if action in _NEVER:
            return _NEVER[action]
        if action in _WRITES:
            if _is_ours(first):
                return f"a write to {first}, which belongs to the store"
            if first in _SHARED and not self.changes_schema:
                return f"a write to {first}, which also holds rows of the store"
        elif action in _DEFINITIONS:
            self.changes_schema = True
            for name in (first, second):
                if _is_ours(name):
                    return f"a write to {name}, which belongs to the store (as do all names that begin with claims_)"
        elif action == apsw.SQLITE_ALTER_TABLE:
            self.changes_schema = True
            if _is_ours(second):
                return f"a change to {second}, which belongs to the store"
        elif action == apsw.SQLITE_ANALYZE:
            if _is_ours(first):
                return f"ANALYZE of {first}, which belongs to the store (run ANALYZE for each of your own tables)"
        elif action == apsw.SQLITE_PRAGMA:
            name = str(first).lower()
            if name in _ACTING_PRAGMAS if second is None else name not in _READING_PRAGMAS | _APPLICATION_PRAGMAS:
                return f"PRAGMA {name} with a value or effect, because the connection belongs to the store"
        return ""


def _is_unknown(action: int, context: str | None) -> bool:
    """Return whether an action in a statement of the store comes from a trigger on the store's tables, or from a view
    with the name of one of the store's tables. The store itself has no triggers and no views. (The common table
    expressions in the store's statements only read data.)"""
    if context is None:
        return False
    reads = (apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE, apsw.SQLITE_FUNCTION)
    return context not in _our_contexts() or action not in reads


class Authorizer:
    """The authorizer of a store's connection."""

    def __init__(self) -> None:
        self.caller_sql: CallerSqlRules | None = None
        """The rules for the caller's own SQL; ``None`` while no SQL of the caller runs."""
        self._unknown_context = ""

    def __call__(
        self, action: int, first: str | None, second: str | None, _database: str | None, context: str | None
    ) -> int:
        if self.caller_sql is not None:
            return self.caller_sql.check(action, first, second)
        if _is_unknown(action, context):
            self._unknown_context = str(context)
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK

    def take_unknown_context(self) -> str:
        """Return the name of the trigger or view that made the authorizer refuse a statement of the store. Then delete
        the recorded name."""
        context, self._unknown_context = self._unknown_context, ""
        return context
