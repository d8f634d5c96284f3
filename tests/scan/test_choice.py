"""The choice between the two scans, and the log messages about this choice."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import apsw
import pytest

from sqlite_claims import StoreUnavailableError
from sqlite_claims.sqlite import c_core, scan
from sqlite_claims.sqlite.scan import open_scanner

from .conftest import needs_core
from .tables import STATEMENTS, Row, lanes, table


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    with closing(table(":memory:", [Row(1)])) as connection:
        yield connection


@pytest.fixture
def without_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a process in which the compiled file is not installed. The process has not logged yet that the file is
    missing."""

    def load() -> None:
        raise ImportError("no _core here")

    monkeypatch.setattr(c_core, "_load", load)
    monkeypatch.setattr(c_core, "is_built", lambda: False)
    monkeypatch.setattr(c_core, "_core", None)
    monkeypatch.setattr(c_core, "_missing", None)
    monkeypatch.setattr(scan, "_logged", False)


def test_the_core_serves_where_it_is_installed(connection: apsw.Connection, caplog: pytest.LogCaptureFixture) -> None:
    needs_core()
    with closing(open_scanner(connection, None, STATEMENTS)) as scanner:
        assert type(scanner).__name__ == "CoreScanner"
    assert not caplog.records


def test_the_python_scan_is_used_where_the_core_is_forbidden(
    connection: apsw.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_scanner(connection, False, STATEMENTS)) as scanner:
        assert type(scanner).__name__ == "PyScanner"
    assert not caplog.records


@pytest.mark.usefixtures("without_core")
def test_without_the_core_the_python_scan_is_used_and_that_is_logged_once(
    connection: apsw.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    assert not scan.core_available()
    caplog.set_level(logging.INFO, "sqlite_claims")
    for _ in range(2):
        with closing(open_scanner(connection, None, STATEMENTS)) as scanner:
            assert list(scanner.ready_ids(lanes(1), 0, None, 1, False)) == [1]
    [record] = caplog.records
    assert (record.name, record.levelno) == ("sqlite_claims", logging.INFO)
    assert "no _core here" in record.getMessage()


@pytest.mark.usefixtures("without_core")
def test_a_core_that_was_built_and_does_not_load_is_warned_of(
    connection: apsw.Connection, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_core, "is_built", lambda: True)
    with closing(open_scanner(connection, None, STATEMENTS)):
        pass
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "can't be loaded (no _core here)" in record.getMessage()


@pytest.mark.usefixtures("without_core")
def test_demanding_the_core_where_it_is_not_says_how_to_get_it(connection: apsw.Connection) -> None:
    with pytest.raises(StoreUnavailableError, match=r"no _core here.*compiler"):
        open_scanner(connection, True, STATEMENTS)


def test_a_core_that_no_sqlite_has_loaded_answers_so_and_does_not_crash() -> None:
    needs_core()
    program = """
from sqlite_claims.sqlite._core import ffi, lib
scan, ids, length = ffi.new("claims_scan **"), ffi.new("int64_t **"), ffi.new("int64_t *")
assert lib.claims_core_loaded() == 0
assert lib.claims_scan_open(ffi.NULL, b"", b"", b"", scan) == lib.CLAIMS_NOT_LOADED and scan[0] == ffi.NULL
assert lib.claims_scan_ready(ffi.NULL, ffi.NULL, 0, 0, 0, 0, 0, ids, length) == lib.CLAIMS_NOT_LOADED
lib.claims_scan_close(ffi.NULL)
print(ffi.string(lib.claims_core_message(ffi.NULL, lib.CLAIMS_NOT_LOADED)).decode())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "the C core is not loaded into SQLite\n"), done.stderr


def test_using_no_handle_is_a_misuse_and_not_a_crash() -> None:
    needs_core()
    core = c_core.load()
    assert core is not None
    lib, ffi = core.lib, core.ffi
    ids, length = ffi.new("int64_t **"), ffi.new("int64_t *")
    assert lib.claims_scan_ready(ffi.NULL, ffi.NULL, 0, 0, 0, 0, False, ids, length) == apsw.SQLITE_MISUSE


def test_an_sqlite_that_is_too_old_or_a_second_one_is_refused() -> None:
    needs_core()
    # This program passes the core a fake SQLite library. Every function of the fake returns the number of the newest
    # SQLite version that is too old.
    program = """
import ctypes
from sqlite_claims.sqlite import scan
from sqlite_claims.sqlite import _core
answer = ctypes.CFUNCTYPE(ctypes.c_void_p)(lambda: 3022999)
other = (ctypes.c_void_p * 400)(*[ctypes.cast(answer, ctypes.c_void_p).value] * 400)
init, error = ctypes.CDLL(_core.__file__).claims_core_init, ctypes.c_void_p()
assert init(None, ctypes.byref(error), other) == 1 and _core.lib.claims_core_loaded() == 0
assert scan.core_available()
assert init(None, ctypes.byref(error), other) == 1 and scan.core_available()
print("refused twice")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused twice\n"), done.stderr
