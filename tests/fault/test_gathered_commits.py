"""Commits whose writes the C core gathers in a buffer. The files get the contents that SQLite would write without the
core."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite_claims import NewTask, SqliteClaimStore

from ..conftest import WITH_CORE
from ..process.children import Start
from ..tiers import first_is_fast

pytestmark = pytest.mark.skipif(not WITH_CORE, reason="there is no C core here")
PAGES_IN_CACHE = 20


class Undo(Exception):
    pass


def write_calls() -> int:
    """Return the number of write system calls that this process has made so far."""
    return int(Path("/proc/self/io").read_text().split("syscw: ")[1].split()[0])


def opened(path: Path, use_c_core: bool = True, durability: Any = "process") -> SqliteClaimStore:
    """Open a store whose transactions soon outgrow the cache, so that they write to the -wal before the commit."""
    store = SqliteClaimStore(path, durability=durability, use_c_core=use_c_core)
    store._db.execute(f"PRAGMA cache_size = {PAGES_IN_CACHE}")
    return store


def undo(store: SqliteClaimStore) -> None:
    with store.transaction() as tx:
        tx.add_instance("undone", [NewTask(f"t{n}", os.urandom(3000)) for n in range(100)])
        raise Undo


def recovered(path: Path, folder: Path) -> dict[int, Any]:
    """Read the rows from copies of the database file and its -wal, so that SQLite recovers the -wal by its
    checksums."""
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", folder / f"copy.db{suffix}")
    connection = apsw.Connection(str(folder / "copy.db"))
    assert connection.pragma("integrity_check") == "ok"
    rows: Any = connection.execute("SELECT id, data FROM own").fetchall()
    connection.close()
    return dict(rows)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the kernel does not count the calls")
def test_a_commit_is_one_write(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.add_instance("i", [NewTask(f"t{number}") for number in range(200)])
        store.claim_available_tasks("w")
        before = write_calls()
        claimed = store.claim_available_tasks("w", 50)
        assert write_calls() - before == 1
        store.complete_tasks([(one.claim, b"done") for one in claimed])
        assert write_calls() - before == 2


@pytest.mark.parametrize("durability", first_is_fast(["process", "full"]))
@pytest.mark.parametrize("seed", first_is_fast(range(4)))
def test_transactions_of_any_size_that_end_either_way_leave_what_was_committed(
    tmp_path: Path, seed: int, durability: str
) -> None:
    choose = random.Random(seed)
    path = tmp_path / "jobs.db"
    there: dict[int, bytes] = {}
    with opened(path, durability=durability) as gathering, opened(path, use_c_core=False) as plain:
        with gathering.transaction() as tx:
            tx.execute("CREATE TABLE own (id INTEGER PRIMARY KEY, data BLOB)")
        for turn in range(40):
            # Choose a store at random. Each store then also writes to places in the -wal that contain rolled-back
            # frames of the other store.
            store = choose.choice((gathering, gathering, plain))
            wanted = dict(there)
            try:
                with store.transaction() as tx:
                    for _ in range(choose.choice((0, 1, 3, 30, 200))):
                        id, data = choose.randrange(300), choose.randbytes(choose.choice((0, 10, 1_000, 9_000)))
                        tx.execute("INSERT OR REPLACE INTO own VALUES (?, ?)", (id, data))
                        wanted[id] = data
                    if choose.random() < 0.4:
                        raise Undo
            except Undo:
                pass
            else:
                there = wanted
            if choose.random() < 0.1:
                gathering._db.checkpoint()
            if turn % 4 == 0:
                assert recovered(path, tmp_path / f"copy{turn}") == there
        assert recovered(path, tmp_path / "copy") == there
        assert gathering.check() == plain.check() == []


def test_commits_around_the_size_of_the_buffer_and_beyond_are_stored_whole(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process") as store:
        store._db.execute("CREATE TABLE own (id INTEGER PRIMARY KEY, data BLOB)")
        stored = {}
        # The buffer has room for 31 pages of 2 KiB and their frame headers.
        for pages in [*range(26, 35), 60, 64, 100, 300]:
            stored[pages] = os.urandom(pages * 2048)
            store._db.execute("INSERT INTO own VALUES (?, ?)", (pages, stored[pages]))
            assert recovered(path, tmp_path / f"copy{pages}") == stored


def test_the_wal_grows_ahead_of_who_syncs_each_commit_by_no_more_than_it_holds(tmp_path: Path) -> None:
    sizes = {}
    for durability in ("process", "full"):
        path = tmp_path / f"{durability}.db"
        with opened(path, durability=durability) as store:
            lengths = []
            for number in range(60):
                store.add_instance(f"i{number}", [NewTask("t", bytes(9000))])
                lengths.append(Path(f"{path}-wal").stat().st_size)
            sizes[durability] = lengths
    for without, ahead in zip(sizes["process"], sizes["full"], strict=True):
        assert without <= ahead <= max(2 * without + 65536, 65536)
    assert len(set(sizes["full"])) < len(set(sizes["process"])) / 2


def test_a_statement_that_is_a_transaction_by_itself_may_outgrow_the_cache_after_a_commit_that_wrote_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.db"
    many = "INSERT INTO own SELECT value + ?, printf('%3000d', value) FROM json_each(?)"
    numbers = str(list(range(1, 301)))
    with opened(path) as store:
        execute = store._db.execute
        execute("CREATE TABLE own (id INTEGER PRIMARY KEY, data BLOB)")
        execute("INSERT INTO own VALUES (300, 'there')")
        execute("BEGIN IMMEDIATE; COMMIT")
        with pytest.raises(apsw.ConstraintError):  # the last row violates the primary key constraint
            execute(many, (0, numbers))
        assert recovered(path, tmp_path / "undone") == {300: "there"}
        execute("BEGIN IMMEDIATE; COMMIT")
        execute(many, (300, numbers))
        wanted = {300: "there", **{number + 300: f"{number:3000d}" for number in range(1, 301)}}
        assert recovered(path, tmp_path / "done") == wanted
        with opened(path, use_c_core=False) as plain:
            rows = plain._db.execute("SELECT id, data FROM own").fetchall()
            assert rows == list(wanted.items())
        assert store.check() == []


def test_frames_of_a_rolled_back_transaction_do_not_overwrite_commits_of_another_process(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    with opened(path) as store:
        store.add_instance("first")
        other = start(
            """
store = SqliteClaimStore(args[0], use_c_core=False, durability="process")
hear()
store.add_instance("others", [NewTask(f"t{n}", b"x" * 3000) for n in range(100)])
say("added")
hear()
say("check", store.check(), len(list(store.list_tasks("others"))))
""",
            path,
        )
        with pytest.raises(Undo):
            undo(store)
        other.tell()
        assert other.says("added") == []
        store.add_instance("last", [NewTask("t")])
        other.tell()
        assert other.says("check") == ["[]", "100"]
        assert store.check() == []
