"""Files that are removed or replaced under an open store: the store acknowledges no result that other processes cannot
find."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlite_claims import AsyncSqliteClaimStore, NewTask, SqliteClaimStore, StoreUnavailableError
from sqlite_claims.sqlite.database import CHECK_EVERY_COMMITS
from sqlite_claims.testing import ManualClock

from ..process.children import Start

SIDE_FILES = [("-wal",), ("-shm",), ("-wal", "-shm")]


def removed(path: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        # Without the C core there is no doorbell file.
        path.with_name(path.name + suffix).unlink(missing_ok=suffix == "-bell")


@pytest.mark.parametrize(
    "suffixes",
    [("",), ("", "-wal", "-shm"), ("", "-wal", "-shm", "-sessions", "-bell")],
    ids=lambda s: f"{len(s)} files",
)
def test_a_result_written_to_removed_files_is_not_acknowledged(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t")])
        removed(path, *suffixes)
        for number in range(2):
            with pytest.raises(StoreUnavailableError, match="removed or replaced"):
                store.add_instance(f"lost{number}")


def test_a_result_written_to_replaced_files_is_not_acknowledged(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t")])
        removed(path, "", "-wal", "-shm")
        other = start(
            """
store = SqliteClaimStore(args[0])
store.add_instance("theirs")
say("there")
hear()
""",
            path,
        )
        other.says("there")
        with pytest.raises(StoreUnavailableError, match="removed or replaced"):
            store.add_instance("lost")
        other.tell()
        other.end()
    with SqliteClaimStore(path) as store:
        assert [info.instance_id for info in store.list_instances()] == ["theirs"]
        assert store.check() == []


def test_a_removed_wal_alone_is_noticed_too(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i")
        removed(path, "-wal")
        with pytest.raises(StoreUnavailableError, match="removed or replaced"):
            store.add_instance("lost")


def test_a_store_that_is_moved_away_while_closed_by_a_fork_is_missed_and_not_made_anew(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    child = start(
        """
store = SqliteClaimStore(args[0])
store.add_instance("i")
if os.fork() == 0:
    os._exit(0)
os.wait()
for suffix in ("", "-sessions", "-reserve", "-bell"):
    if suffix != "-bell" or os.path.exists(args[0] + suffix):  # without the C core, there is no doorbell file
        os.rename(args[0] + suffix, args[0] + ".away" + suffix)
try:
    store.add_instance("j")
except StoreUnavailableError:
    say("missed", *sorted(set(os.listdir(os.path.dirname(args[0]))) - {"jobs.db.away-bell", "jobs.db.away-reserve"}))
""",
        path,
    )
    assert child.says("missed") == ["jobs.db.away", "jobs.db.away-sessions"]
    child.end()


def test_a_store_that_another_takes_the_place_of_during_a_fork_is_used_as_it_is(start: Start, tmp_path: Path) -> None:
    """The store that replaces the first one has the same file name and the same number of lanes, but different
    lanes."""
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(tmp_path / "other.db") as other:
        other.add_instance("o", [NewTask("t", kind="theirs")])
    child = start(
        """
store = SqliteClaimStore(args[0])
store.add_instance("i", [NewTask("t", kind="mine")])
assert store.find_available_tasks("w", 5, kinds=["mine"])
if os.fork() == 0:
    os._exit(0)
os.wait()
os.rename(args[0].replace("jobs", "other"), args[0])
say("mine", len(store.find_available_tasks("w", 5, kinds=["mine"])))
say("theirs", *(task.kind for task in store.find_available_tasks("w", 5, kinds=["theirs"])))
store.add_instance("j")
""",
        path,
    )
    child.says("mine", 0)
    child.says("theirs", "theirs")
    child.end()
    assert os.path.exists(path)


def stored(start: Start, path: Path) -> list[str]:
    """Return the ids of the instances that a new process lists. Assert that ``check`` has no findings in that
    process."""
    child = start(
        """
with SqliteClaimStore(args[0]) as store:
    say(store.check())
    say(*sorted(info.instance_id for info in store.list_instances()))
""",
        path,
    )
    assert child.next_line() == "[]"
    found = child.next_line().split()
    child.end()
    return found


def commit_until_noticed(store: SqliteClaimStore) -> list[str]:
    """Add instances until the store notices the lost file. Return the ids of the added instances. There must be fewer
    than ``CHECK_EVERY_COMMITS``."""
    added: list[str] = []

    def add() -> None:
        while len(added) < CHECK_EVERY_COMMITS:
            store.add_instance(f"i{len(added)}")
            added.append(f"i{len(added)}")

    with pytest.raises(StoreUnavailableError, match=r"removed or replaced.*standard library's sqlite3"):
        add()
    return added


@pytest.mark.parametrize("suffixes", SIDE_FILES, ids="".join)
def test_a_removed_side_file_is_noticed_by_the_next_result_and_nothing_is_lost(
    start: Start, tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("before")
        removed(path, *suffixes)
        with pytest.raises(StoreUnavailableError, match=r"removed or replaced.*standard library's sqlite3.*saved into"):
            store.add_instance("told")
        store.add_instance("after")
        assert stored(start, path) == ["after", "before", "told"]


@pytest.mark.parametrize("suffixes", SIDE_FILES, ids="".join)
def test_without_syncs_it_is_noticed_within_so_many_commits(
    start: Start, tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process", clock=ManualClock()) as store:
        store.stats()
        removed(path, *suffixes)
        assert len(commit_until_noticed(store)) == CHECK_EVERY_COMMITS - 1
        store.add_instance("after")
    assert len(stored(start, path)) == CHECK_EVERY_COMMITS + 1


def test_without_syncs_it_is_noticed_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    clock = ManualClock()
    calls: list[Callable[[SqliteClaimStore], object]] = [
        lambda store: store.add_instance("told"),
        lambda store: store.stats(),
        lambda store: store.wait_for_tasks(60),
    ]
    for number, call in enumerate(calls):
        with SqliteClaimStore(path, durability="process", clock=clock) as store:
            store.add_instance(f"before{number}")
            removed(path, "-wal", "-shm")
            store.add_instance(f"unnoticed{number}")
            clock.advance(1)
            with pytest.raises(StoreUnavailableError, match="removed or replaced"):
                call(store)


def test_transactions_and_checks_look_each_time(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process", clock=ManualClock()) as store:
        store.stats()
        removed(path, "-shm")
        with pytest.raises(StoreUnavailableError, match="removed or replaced"), store.transaction() as tx:
            tx.add_instance("told")
        store.stats()
        removed(path, "-wal")
        with pytest.raises(StoreUnavailableError, match="removed or replaced"):
            store.check()
        assert store.check() == []


async def _add_after_removal(path: Path) -> None:
    async with AsyncSqliteClaimStore(path) as store:
        await store.add_instance("before")
        removed(path, "-shm")
        with pytest.raises(StoreUnavailableError, match="removed or replaced"):
            await store.add_instance("told")
        await store.add_instance("after")


def test_the_async_store_notices_it_too(tmp_path: Path) -> None:
    import asyncio

    asyncio.run(_add_after_removal(tmp_path / "jobs.db"))


def test_closing_saves_what_only_this_process_can_reach(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process") as store:
        store.add_instance("before")
        removed(path, "-wal", "-shm")
        store.add_instance("unnoticed")
    assert stored(start, path) == ["before", "unnoticed"]


def test_closing_tells_what_could_not_be_saved_and_leaves_alone_what_took_its_place(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteClaimStore(path, durability="process")
    store.add_instance("i")
    other = tmp_path / "other"
    other.write_bytes(b"somebody else's")
    other.rename(tmp_path / "jobs.db-wal")
    with pytest.raises(StoreUnavailableError, match=r"jobs\.db-wal: removed or replaced"):
        store.close()
    store.close()
    assert (tmp_path / "jobs.db-wal").read_bytes() == b"somebody else's"


def test_a_store_whose_folder_was_moved_says_where_it_is_and_keeps_all_there(start: Start, tmp_path: Path) -> None:
    folder, moved = tmp_path / "folder", tmp_path / "moved"
    folder.mkdir()
    with SqliteClaimStore(folder / "jobs.db") as store:
        store.add_instance("before")
        folder.rename(moved)
        for number in range(2):
            with pytest.raises(StoreUnavailableError, match=f"removed or replaced.*{moved}/jobs.db now"):
                store.add_instance(f"told{number}")
    assert stored(start, moved / "jobs.db") == ["before", "told0"]


def test_a_read_only_store_notices_it_within_a_second(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    clock = ManualClock()
    with SqliteClaimStore(path, clock=clock) as store:
        store.add_instance("i")
        with SqliteClaimStore(path, clock=clock, read_only=True) as reader:
            assert reader.stats()
            removed(path, "-shm")
            clock.advance(1)
            with pytest.raises(StoreUnavailableError, match="removed or replaced"):
                reader.stats()
        with pytest.raises(StoreUnavailableError, match="removed or replaced"):
            store.stats()
    assert stored(start, path) == ["i"]


@pytest.mark.parametrize("name", ["a b.db", "line\nbreak.db", "x (deleted)", "%?#'\\.db", "ünï.db"])
def test_a_store_with_an_odd_name_is_looked_at_by_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with SqliteClaimStore(path) as store:
        store.add_instance("before")
        removed(path, "-shm")
        with pytest.raises(StoreUnavailableError, match="removed or replaced"):
            store.add_instance("told")
        store.add_instance("after")


def test_a_store_that_is_opened_through_a_symbolic_link_is_looked_at_where_it_is(tmp_path: Path) -> None:
    path, link = tmp_path / "jobs.db", tmp_path / "link.db"
    SqliteClaimStore(path).close()
    link.symlink_to(path)
    with SqliteClaimStore(link) as store:
        link.unlink()
        store.add_instance("before")
        removed(path, "-wal")
        with pytest.raises(StoreUnavailableError, match="removed or replaced"):
            store.add_instance("told")


def test_a_name_that_is_removed_is_noticed_although_the_file_has_another_one(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("before")
        os.link(path, tmp_path / "other.db")
        removed(path, "")
        with pytest.raises(StoreUnavailableError, match="removed or replaced"):
            store.add_instance("told")
