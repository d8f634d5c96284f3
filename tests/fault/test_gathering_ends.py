"""Connections on which the C core never gathers commits, or stops gathering commits. The reasons are the caller's
settings, the application's own hooks, or a state in which the core cannot be sure that gathering is safe. This module
also tests commits that fail half-way."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite_claims import BackendError, NewTask, SqliteClaimStore
from sqlite_claims.sqlite import c_core

from ..conftest import WITH_CORE

pytestmark = pytest.mark.skipif(not WITH_CORE, reason="there is no C core here")

PAGE_SIZE = 1024
FRAME = PAGE_SIZE + 24


def gather(connection: apsw.Connection, page_size: int = PAGE_SIZE) -> int:
    core = c_core.load()
    assert core is not None
    return core.lib.claims_wal_install(core.pointer(connection), page_size, False)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Open a connection that uses the core's VFS, and make one table. At first, the core does not gather the
    connection's commits."""
    opened = apsw.Connection(str(tmp_path / "own.db"), vfs=c_core.vfs())
    opened.pragma("page_size", PAGE_SIZE)
    opened.pragma("journal_mode", "wal")
    opened.wal_autocheckpoint(0)
    opened.execute("CREATE TABLE own (id INTEGER PRIMARY KEY)")
    yield opened
    opened.close(True)


def add(connection: apsw.Connection, id: int) -> None:
    connection.execute("INSERT INTO own VALUES (?)", (id,))


def gathers(connection: apsw.Connection) -> bool:
    return bool(connection.execute("SELECT claims_gathers()").get)


def in_files(connection: apsw.Connection) -> list[int]:
    """Return the rows that a reader finds in a copy of the database file and its -wal."""
    copy = f"{connection.filename}.copy"
    for suffix in ("", "-wal"):
        shutil.copy(f"{connection.filename}{suffix}", f"{copy}{suffix}")
    there = apsw.Connection(copy)
    ids = [id for (id,) in there.execute("SELECT id FROM own ORDER BY id")]
    assert there.pragma("integrity_check") == "ok"
    there.close()
    return ids


class Methods(ctypes.Structure):
    """The first fields of SQLite's ``sqlite3_io_methods``, the functions of an open file."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("close", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("write", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int64)),
    )


def write_piece(connection: apsw.Connection, data: bytes) -> None:
    """Append data to the -wal, as SQLite does within a COMMIT that fails later."""
    connection.execute("BEGIN IMMEDIATE; COMMIT")  # calls the commit hook without writing anything
    file = ctypes.c_void_p()
    assert connection.file_control("main", apsw.SQLITE_FCNTL_JOURNAL_POINTER, ctypes.addressof(file))
    methods = ctypes.cast(file, ctypes.POINTER(ctypes.POINTER(Methods))).contents.contents
    size = os.stat(f"{connection.filename}-wal").st_size
    assert (size - 32) % FRAME == 0
    assert methods.write(file, data, len(data), size) == apsw.SQLITE_OK


HEADER = (7).to_bytes(4, "big") + bytes(20)  # header of a frame that does not end its transaction


def test_a_piece_of_a_commit_that_was_given_up_is_dropped_with_it(connection: apsw.Connection) -> None:
    assert gather(connection) == 0
    add(connection, 1)
    write_piece(connection, HEADER)
    with pytest.raises(apsw.ConstraintError):
        add(connection, 1)  # SQLite rolls the row back
    assert in_files(connection) == [1]
    add(connection, 2)
    assert gathers(connection)
    assert in_files(connection) == [1, 2]


def test_a_commit_is_refused_where_the_end_of_the_one_before_was_not_seen_and_none_is_gathered_from_then_on(
    connection: apsw.Connection,
) -> None:
    assert gather(connection) == 0
    add(connection, 1)
    write_piece(connection, HEADER)
    with pytest.raises(apsw.ConstraintError) as caught:
        add(connection, 2)
    assert getattr(caught.value, "extendedresult", 0) == apsw.SQLITE_CONSTRAINT_COMMITHOOK
    assert in_files(connection) == [1]
    assert not gathers(connection)
    for id in (3, 4):
        add(connection, id)
    assert in_files(connection) == [1, 3, 4]


def test_held_bytes_that_sqlite_takes_for_written_are_an_error_of_the_call_that_finds_them(
    connection: apsw.Connection,
) -> None:
    assert gather(connection) == 0
    add(connection, 1)
    write_piece(connection, HEADER)
    connection.pragma("cache_size", 10)
    connection.execute("BEGIN")
    with pytest.raises(apsw.IOError):  # a transaction that outgrows the cache writes before it commits
        connection.executemany("INSERT INTO own VALUES (?)", ((id,) for id in range(2, 5000)))
    assert in_files(connection) == [1]
    assert not gathers(connection)
    add(connection, 2)
    assert in_files(connection) == [1, 2]


@pytest.mark.parametrize("piece", [b"x" * 10, bytes(24) + b"x" * PAGE_SIZE, b"x" * PAGE_SIZE])
def test_pieces_of_a_form_that_is_not_known_end_the_gathering_and_nothing_else(
    connection: apsw.Connection, piece: bytes
) -> None:
    assert gather(connection) == 0
    add(connection, 1)
    write_piece(connection, piece)
    assert not gathers(connection)
    add(connection, 2)
    assert in_files(connection) == [1, 2]


def test_a_log_of_pages_of_another_size_ends_the_gathering(connection: apsw.Connection) -> None:
    # The next commit starts the -wal again, so SQLite writes the header of the -wal first.
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert gather(connection, 2 * PAGE_SIZE) == 0
    add(connection, 1)
    assert not gathers(connection)
    add(connection, 2)
    assert in_files(connection) == [1, 2]


def test_a_connection_that_has_a_commit_hook_or_a_rollback_hook_is_left_alone(connection: apsw.Connection) -> None:
    core = c_core.load()
    assert core is not None
    connection.set_rollback_hook(lambda: None)
    assert gather(connection) == core.lib.CLAIMS_HOOKED
    add(connection, 1)
    assert not gathers(connection)
    assert in_files(connection) == [1]


LEAVES_WAL = """
import sys, apsw
from sqlite_claims.sqlite import c_core
core = c_core.load()
lib, ffi = core.lib, core.ffi
connection = apsw.Connection(sys.argv[1], vfs=c_core.vfs())
connection.pragma("journal_mode", "wal")
connection.execute("CREATE TABLE own (id INTEGER PRIMARY KEY)")
pointer = core.pointer(connection)
for turn in range(3):
    assert connection.pragma("journal_mode", "wal") == "wal"
    if turn < 2:
        lib.claims_wal_install(pointer, connection.pragma("page_size"), True)
    connection.execute("INSERT INTO own VALUES (?)", (10 * turn,))
    assert connection.pragma("journal_mode", "delete") == "delete"
    for number in range(1, 6):
        connection.execute("INSERT INTO own VALUES (?)", (10 * turn + number,))
    connection.execute("BEGIN IMMEDIATE; ROLLBACK")
print(connection.execute("SELECT count(*) FROM own").get, connection.pragma("integrity_check"))
connection.execute("BEGIN IMMEDIATE")
connection.close()
"""


def test_a_connection_may_leave_the_wal_mode_and_come_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVES_WAL, str(tmp_path / "own.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "18 ok\n"), done.stderr


# Tests of hooks that the application has set on every connection of its process. The store leaves these hooks active.

Hook = Callable[[apsw.Connection], Any]


@pytest.fixture(params=[True, False], ids=["c", "python"])
def hooked(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that opens a store while a hook of the application acts on each new connection."""

    def open_hooked(hook: Hook) -> SqliteClaimStore:
        monkeypatch.setattr(apsw, "connection_hooks", [hook])
        return SqliteClaimStore(tmp_path / "jobs.db", durability="process", use_c_core=request.param)

    return open_hooked


def test_commit_rollback_and_wal_hooks_of_the_application_are_called(hooked: Callable[..., Any]) -> None:
    called: list[str] = []

    def note(what: str) -> Callable[..., Any]:
        def hook(*_: Any) -> int:
            called.append(what)
            return 0

        return hook

    def hook(connection: apsw.Connection) -> None:
        connection.set_commit_hook(note("commit"))
        connection.set_rollback_hook(note("rollback"))
        connection.set_wal_hook(note("wal"))
        connection.set_authorizer(note("authorizer"))

    with hooked(hook) as store:
        called.clear()
        store.add_instance("i", [NewTask("t")])
        assert {"commit", "wal", "authorizer"} <= set(called)
        assert "rollback" not in called
        with pytest.raises(apsw.SQLError), store.transaction() as tx:
            tx.execute("no SQL")
        assert "rollback" in called
        [work] = store.claim_available_tasks("w")
        store.complete_task(work.claim)
        assert store._db.opened.frames[0] > 0  # if frames were not counted, the store would make no checkpoints


def test_a_commit_that_a_hook_of_the_application_refuses_is_told_as_that(hooked: Callable[..., Any]) -> None:
    refuses = False
    with hooked(lambda connection: connection.set_commit_hook(lambda: refuses)) as store:
        store.add_instance("before")
        refuses = True
        with pytest.raises(BackendError, match=r"refused.*commit hook"):
            store.add_instance("refused")
        refuses = False
        assert [instance.instance_id for instance in store.list_instances()] == ["before"]
        store.add_instance("after")


def test_an_authorizer_of_the_application_is_asked_about_the_callers_sql(hooked: Callable[..., Any]) -> None:
    def authorizer(action: int, first: str | None, *_: Any) -> int:
        return apsw.SQLITE_DENY if (action, first) == (apsw.SQLITE_READ, "secret") else apsw.SQLITE_OK

    with hooked(lambda connection: connection.set_authorizer(authorizer)) as store, store.transaction() as tx:
        tx.execute("CREATE TABLE secret (word)")
        with pytest.raises(apsw.AuthError):
            tx.execute("SELECT word FROM secret")


def test_rows_are_read_whatever_form_the_application_wants_them_in(hooked: Callable[..., Any]) -> None:
    def as_dict(cursor: apsw.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
        return {column[0]: value for column, value in zip(cursor.get_description(), row, strict=True)}

    class Dictionaries(apsw.Cursor):
        def __init__(self, connection: apsw.Connection) -> None:
            super().__init__(connection)
            self.row_trace = as_dict

    def hook(connection: apsw.Connection) -> None:
        connection.row_trace = as_dict
        connection.cursor_factory = Dictionaries
        connection.pragma("locking_mode", "exclusive")

    with hooked(hook) as store:
        store.add_instance("i", [NewTask("t")])
        [work] = store.claim_available_tasks("w")
        store.complete_task(work.claim, b"done")
        assert store.get_task("i", "t").output == b"done"
        with SqliteClaimStore(store.path, use_c_core=False) as other:
            other.add_instance("j")


PLAIN = """
import sys
from pathlib import Path
from sqlite_claims import NewTask, SqliteClaimStore
with SqliteClaimStore(sys.argv[1], use_c_core=True) as store:
    store.add_instance("i", [NewTask(f"t{n}", bytes(900)) for n in range(100)])
    functions = store._db.execute("SELECT count(*) FROM pragma_function_list WHERE name = 'claims_gathers'").fetchall()
    [work] = store.claim_available_tasks("w")
    store.complete_task(work.claim)
    size = Path(f"{sys.argv[1]}-wal").stat().st_size
    print(functions[0][0], "grown by frames alone" if (size - 32) % (2048 + 24) == 0 else "grown ahead")
"""


@pytest.mark.parametrize(
    ("plain", "told"), [("1", "0 grown by frames alone\n"), ("", "1 grown ahead\n"), ("0", "1 grown ahead\n")]
)
def test_an_environment_variable_turns_off_what_the_core_does_with_the_wal(
    tmp_path: Path, plain: str, told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(tmp_path / "jobs.db")],
        env={**os.environ, "SQLITE_CLAIMS_PLAIN_WAL": plain},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, told), done.stderr


# Tests in which each write to the -wal fails once, entirely or half-way, and the same connection is then used for the
# next commit.
