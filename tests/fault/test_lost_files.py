"""Files that are removed or replaced under an open store: no result is acknowledged that nobody will find."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, StoreUnavailableError

from ..process.children import Start


def removed(path: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        # Without the C core there is no doorbell.
        path.with_name(path.name + suffix).unlink(missing_ok=suffix == "-bell")


@pytest.mark.parametrize(
    "suffixes",
    [("",), ("", "-wal", "-shm"), ("", "-wal", "-shm", "-sessions", "-bell")],
    ids=lambda s: f"{len(s)} files",
)
def test_what_goes_into_removed_files_is_not_acknowledged(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t")])
        removed(path, *suffixes)
        for number in range(2):
            with pytest.raises(StoreUnavailableError, match="removed or replaced"):
                store.add_instance(f"lost{number}")


def test_what_goes_into_replaced_files_is_not_acknowledged(start: Start, tmp_path: Path) -> None:
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
for suffix in ("", "-sessions", "-bell"):
    if suffix != "-bell" or os.path.exists(args[0] + suffix):  # without the C core there is no doorbell
        os.rename(args[0] + suffix, args[0] + ".away" + suffix)
try:
    store.add_instance("j")
except StoreUnavailableError:
    say("missed", *sorted(set(os.listdir(os.path.dirname(args[0]))) - {"jobs.db.away-bell"}))
""",
        path,
    )
    assert child.says("missed") == ["jobs.db.away", "jobs.db.away-sessions"]
    child.end()


def test_a_store_that_another_takes_the_place_of_during_a_fork_is_used_as_it_is(start: Start, tmp_path: Path) -> None:
    """Another file of the same name, with as many lanes and other ones."""
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
