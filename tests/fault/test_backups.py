"""Backups that cannot be completed leave no file behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlite_claims import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidStateError,
    NewTask,
    SqliteClaimStore,
    StoreUnavailableError,
)

from ..process.children import Start


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.add_instance("i", [NewTask("t", b"input")])
        yield store


def test_a_backup_overwrites_nothing_and_makes_no_folders(store: SqliteClaimStore, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(AlreadyExistsError):
        store.backup(tmp_path / "copy.db")
    with pytest.raises(AlreadyExistsError):
        store.backup(store.path)
    with pytest.raises(StoreUnavailableError, match="no folder"):
        store.backup(tmp_path / "missing" / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal", "-sessions", "-bell", "-reserve"])
def test_a_backup_takes_no_name_of_the_stores_own_files(store: SqliteClaimStore, suffix: str) -> None:
    """SQLite would remove a backup that has the name of the -journal file. The store would truncate a backup that has
    the name of the -reserve file."""
    path = Path(store.path + suffix)
    if suffix in ("-reserve", "-bell"):
        path.unlink(missing_ok=True)
    existed = path.exists()
    with pytest.raises((AlreadyExistsError, InvalidArgumentError)):
        store.backup(path)
    assert path.exists() == existed


def test_a_backup_within_a_transaction_is_refused_since_it_would_copy_what_is_not_committed(
    store: SqliteClaimStore, tmp_path: Path
) -> None:
    with store.transaction() as tx:
        tx.add_instance("j")
        with pytest.raises(InvalidStateError):
            store.backup(tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == []


def test_a_backup_made_while_others_write_is_a_sound_store_as_it_was_at_one_moment(
    start: Start, store: SqliteClaimStore, tmp_path: Path
) -> None:
    writer = start(
        """
store = SqliteClaimStore(args[0], durability="process")
say("writing")
number = 0
while True:
    number += 1
    store.add_instance(f"n{number}", [NewTask("a", bytes(3000)), NewTask("b", depends_on=["a"])])
""",
        store.path,
    )
    writer.says("writing")
    for number in range(3):
        store.backup(tmp_path / f"copy{number}.db")
    writer.kill()
    for number in range(3):
        with SqliteClaimStore(tmp_path / f"copy{number}.db") as copy:
            assert copy.check() == []
            assert copy.get_task("i", "t").input == b"input"
            names = [info.instance_id for info in copy.list_instances()]
            assert names == ["i", *(f"n{number}" for number in range(1, len(names)))]
    assert not list(tmp_path.glob("*.partial"))


def test_the_remains_of_a_killed_backup_are_no_store_and_do_not_block_the_next_one(
    start: Start, store: SqliteClaimStore, tmp_path: Path
) -> None:
    killed = start(
        """
from sqlite_claims.sqlite.maintenance import backup
backup.os.rename = lambda *_: (say("about to"), hear())
SqliteClaimStore(args[0]).backup(args[1])
""",
        store.path,
        tmp_path / "copy.db",
    )
    killed.says("about", "to")
    killed.kill()
    assert not (tmp_path / "copy.db").exists()
    store.backup(tmp_path / "copy.db")
    with SqliteClaimStore(tmp_path / "copy.db") as copy:
        assert copy.check() == []
