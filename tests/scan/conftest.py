"""Shared fixtures of the scan tests: both scans, and stores that are closed at the end of the test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import apsw
import pytest

from sqlite_claims.sqlite.scan import Scanner, core_available, open_scanner

from .tables import STATEMENTS, Row, table


def needs_core() -> None:
    """Skip the test if there is no C core. Fail instead if the environment requires the core."""
    if not core_available() and os.environ.get("SQLITE_CLAIMS_REQUIRE_C") != "1":
        pytest.skip("the C core is not installed: no C compiler or no SQLite headers when it was")


@pytest.fixture(params=["c", "python"])
def use_c_core(request: pytest.FixtureRequest) -> bool:
    if request.param == "c":
        needs_core()
    return bool(request.param == "c")


Open = Callable[..., tuple[apsw.Connection, Scanner]]


@pytest.fixture
def scan(tmp_path: Path, use_c_core: bool) -> Iterator[Open]:
    """Return a function that makes a store with these rows and a scanner on it."""
    opened: list[tuple[apsw.Connection, Scanner]] = []

    def scan(rows: Iterable[Row], states: dict[int, int] | None = None) -> tuple[apsw.Connection, Scanner]:
        connection = table(tmp_path / f"{len(opened)}.db", rows, states)
        scanner = open_scanner(connection, use_c_core, STATEMENTS)
        opened.append((connection, scanner))
        return connection, scanner

    yield scan
    for connection, scanner in opened:
        scanner.close()
        connection.close()
