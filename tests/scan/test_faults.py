"""Errors within a scan raise apsw's exception and leave the connection usable."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from sqlite_claims.sqlite.scan import open_scanner

from .conftest import Open, needs_core
from .tables import STATEMENTS, Row, lanes, table

NOW = 1000
ROWS = [Row(i, lane=1 + i % 3, priority=1 + i % 5, instance=1 + i % 2) for i in range(1, 301)]
QUESTION = (lanes(1, 2, 3), NOW, 10, 200, True)


def test_an_interrupt_at_any_moment_ends_the_scan_and_the_next_one_is_whole(scan: Open) -> None:
    connection, scanner = scan(ROWS)
    whole = list(scanner.ready_ids(*QUESTION))
    calls = 0

    def interrupt_at_call(at: int) -> None:
        nonlocal calls
        calls = 0

        def step() -> bool:
            nonlocal calls
            calls += 1
            return calls == at

        connection.set_progress_handler(step, 50)

    at = 1
    while True:
        interrupt_at_call(at)
        try:
            scanner.ready_ids(*QUESTION)
            break
        except apsw.InterruptError:
            connection.set_progress_handler(None)
            assert list(scanner.ready_ids(*QUESTION)) == whole
        at += 1
    assert at > 20


def test_an_interrupted_scan_leaves_no_reader_behind(scan: Open) -> None:
    connection, scanner = scan(ROWS)
    connection.set_progress_handler(lambda: True, 300)
    with pytest.raises(apsw.InterruptError):
        scanner.ready_ids(*QUESTION)
    connection.set_progress_handler(None)
    # If a statement were still active, it would hold a read transaction open, and a truncating checkpoint would wait
    # for the end of that transaction.
    connection.execute("UPDATE claims_tasks SET next_at = 1 WHERE id = 1")
    assert connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE) == (0, 0)


def test_a_scan_leaves_no_statement_under_way(scan: Open) -> None:
    connection, scanner = scan(ROWS)
    connection.execute("BEGIN IMMEDIATE")
    scanner.ready_ids(*QUESTION)
    connection.execute("COMMIT")
    assert not connection.in_transaction
    # VACUUM fails while another statement is active.
    connection.execute("VACUUM")


def test_a_scanner_goes_on_after_the_schema_changed(scan: Open) -> None:
    connection, scanner = scan(ROWS)
    whole = list(scanner.ready_ids(*QUESTION))
    connection.execute("CREATE TABLE other (x); VACUUM")
    assert list(scanner.ready_ids(*QUESTION)) == whole


def test_an_index_that_is_gone_is_an_error_and_not_a_slow_scan(scan: Open) -> None:
    connection, scanner = scan(ROWS)
    connection.execute("DROP INDEX claims_task_next")
    with pytest.raises(apsw.SQLError, match="claims_task_next"):
        scanner.ready_ids(*QUESTION)


def test_a_damaged_page_is_told_as_what_it_is(tmp_path: Path, use_c_core: bool) -> None:
    path = tmp_path / "damaged.db"
    connection = table(path, (Row(i, next_at=i) for i in range(1, 5000)))
    page_size = connection.pragma("page_size")
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'claims_task_next'").get
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * page_size)
        file.write(b"\xff" * page_size)
    connection = apsw.Connection(str(path))
    scanner = open_scanner(connection, use_c_core, STATEMENTS)
    with pytest.raises(apsw.CorruptError, match="malformed"):
        scanner.ready_ids(*QUESTION)
    scanner.close()
    connection.close()


def test_a_closed_scanner_lets_the_connection_close_and_refuses_to_scan(tmp_path: Path, use_c_core: bool) -> None:
    connection = table(tmp_path / "a.db", ROWS)
    scanner = open_scanner(connection, use_c_core, STATEMENTS)
    scanner.ready_ids(*QUESTION)
    scanner.close()
    scanner.close()
    with pytest.raises(apsw.ConnectionClosedError):
        scanner.ready_ids(*QUESTION)
    connection.close()
    with pytest.raises(apsw.ConnectionClosedError):
        scanner.ready_ids(*QUESTION)


def test_a_connection_closed_before_its_core_scanner_is_told_and_does_not_crash(tmp_path: Path) -> None:
    needs_core()
    connection = table(tmp_path / "a.db", ROWS)
    scanner = open_scanner(connection, True, STATEMENTS)
    scanner.ready_ids(*QUESTION)
    # The scanner's statements keep the SQLite handle of the connection open, although apsw treats the connection as
    # closed.
    with pytest.raises(apsw.BusyError):
        connection.close()
    with pytest.raises(apsw.ConnectionClosedError):
        scanner.ready_ids(*QUESTION)
    scanner.close()


def test_a_scanner_on_a_closed_connection_is_refused(tmp_path: Path, use_c_core: bool) -> None:
    connection = table(tmp_path / "a.db", [])
    connection.close()
    with pytest.raises(apsw.ConnectionClosedError):
        open_scanner(connection, use_c_core, STATEMENTS)


def test_a_dropped_scanner_frees_its_statements(tmp_path: Path, use_c_core: bool) -> None:
    connection = table(tmp_path / "a.db", ROWS)
    scanner = open_scanner(connection, use_c_core, STATEMENTS)
    scanner.ready_ids(*QUESTION)
    del scanner
    connection.close()  # raises BusyError if a statement was not finalized


def test_a_connection_dropped_with_its_scanner_is_closed_after_it(
    tmp_path: Path, use_c_core: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = table(tmp_path / "a.db", ROWS)
    scanner = open_scanner(connection, use_c_core, STATEMENTS)
    scanner.ready_ids(*QUESTION)
    del connection
    del scanner
    # Python only prints an exception that a destructor raises.
    assert capsys.readouterr().err == ""


def test_two_scanners_on_two_stores_keep_apart(scan: Open) -> None:
    _, first = scan([Row(1)])
    _, second = scan([Row(2)])
    for _ in range(3):
        assert list(first.ready_ids(lanes(1), NOW, None, 10, False)) == [1]
        assert list(second.ready_ids(lanes(1), NOW, None, 10, False)) == [2]
