"""The scan, which finds the tasks that can be claimed, in order. The C and Python versions give the same results.

The caller passes the SQL statements of the scan, which are in ``sqlite/sql/scan.sql``.
"""

from __future__ import annotations

import logging

import apsw

from ...errors import StoreUnavailableError
from .. import c_core
from .core_scanner import CoreScanner
from .py_scanner import PyScanner
from .scanner import AGING_US_MAX, Scanner, ScanStatements

__all__ = ["AGING_US_MAX", "ScanStatements", "Scanner", "core_available", "open_scanner"]

_HOW_TO_GET_IT = (
    "install a C compiler and the headers of Python and SQLite (Debian: gcc python3-dev libsqlite3-dev), "
    "then, in a checkout of sqlite-claims: SQLITE_CLAIMS_REQUIRE_C=1 pip install --force-reinstall --no-deps . "
    "(which fails, and shows why, where the core can't be built)"
)
_logged = False


def core_available() -> bool:
    """Return whether the C core is installed and works with the SQLite library of this process."""
    return c_core.load() is not None


def open_scanner(connection: apsw.Connection, use_c_core: bool | None, statements: ScanStatements) -> Scanner:
    """Return a scanner for this connection. The store's tables must exist already.

    ``use_c_core``: ``None`` uses the C core if it is installed, else the Python scan, and logs the use of the Python
    scan once per process. ``True`` raises ``StoreUnavailableError`` if the core is missing. ``False`` uses the Python
    scan.
    """
    global _logged
    loaded = None if use_c_core is False else c_core.load()
    if loaded is not None:
        return CoreScanner(loaded, connection, statements)
    state = "can't be loaded" if c_core.is_built() else "is not installed"
    if use_c_core:
        raise StoreUnavailableError(f"the C core {state} ({c_core.why_missing()}); {_HOW_TO_GET_IT}")
    if use_c_core is None and not _logged:
        _logged = True
        # A missing C core is not logged as a warning, because Python prints warnings to standard error in a program
        # that has not set up logging. A core that was built but can't be loaded is a fault, so this is logged as a
        # warning.
        logging.getLogger("sqlite_claims").log(
            logging.WARNING if c_core.is_built() else logging.INFO,
            "the C core %s (%s): the slower Python scan is used, with the same results; %s",
            state,
            c_core.why_missing(),
            _HOW_TO_GET_IT,
        )
    return PyScanner(connection, statements)
