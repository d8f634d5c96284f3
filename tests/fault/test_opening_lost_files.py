"""Opening, backing up or checkpointing a store whose files were removed or replaced creates no new files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore, StoreUnavailableError
from sqlite_claims.sqlite.wal import checkpoints
from sqlite_claims.testing import ManualClock

from ..process.children import Start
from ..tiers import first_is_fast
from .test_lost_files import removed, stored


def test_nobody_opens_a_store_whose_shm_is_gone_while_others_have_it(start: Start, tmp_path: Path) -> None:
    """SQLite would create a second -shm. Processes that use the old -shm would then overwrite the commits of the
    process that uses the new -shm."""
    path = tmp_path / "jobs.db"
    other = start(
        """
store = SqliteClaimStore(args[0], durability="process")
store.add_instance("theirs")
say("there")
hear()
store.add_instance("unnoticed")
store.close()
say("closed")
hear()
""",
        path,
    )
    other.says("there")
    removed(path, "-shm")
    for read_only in (False, True):
        with pytest.raises(StoreUnavailableError, match=r"jobs\.db-shm: gone.*standard library's sqlite3"):
            SqliteClaimStore(path, busy_timeout=0, read_only=read_only)
    other.tell()
    other.says("closed")
    with SqliteClaimStore(path, busy_timeout=0) as store:
        store.add_instance("ours")
    other.tell()
    other.end()
    assert stored(start, path) == ["ours", "theirs", "unnoticed"]


def test_a_backup_beside_removed_files_makes_none_of_them_anew(start: Start, tmp_path: Path) -> None:
    """If the backup created a new -wal, data that is only in the removed -wal could not be saved any more."""
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process") as store:
        store.add_instance("before")
        removed(path, "-wal")
        with pytest.raises(StoreUnavailableError, match="removed or replaced"):
            store.backup(tmp_path / "backup.db")
        assert not (tmp_path / "backup.db").exists()
        with pytest.raises(StoreUnavailableError, match="was saved into the database"):
            store.add_instance("told")
        store.backup(tmp_path / "backup.db")
    assert stored(start, path) == ["before", "told"]


def test_a_checkpoint_beside_removed_files_makes_none_of_them_anew(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.db"
    monkeypatch.setattr(checkpoints, "PASSIVE_FRAMES", 1)
    with SqliteClaimStore(path, durability="process", clock=ManualClock()) as store:
        assert store.stats()  # after this call, the store does not check the -wal for a second
        removed(path, "-wal")
        store.add_instance("before")
        checkpointer = store._db.opened.checkpointer
        assert checkpointer is not None
        assert checkpointer._thread is not None
        checkpointer._thread.join(60)  # the thread ends when the checkpoint raises an error
        assert isinstance(checkpointer.last_error, StoreUnavailableError)
        assert not (tmp_path / "jobs.db-wal").exists()
    assert stored(start, path) == ["before"]


def test_a_store_whose_database_was_replaced_stays_lost_in_a_fork_and_for_backups(start: Start, tmp_path: Path) -> None:
    SqliteClaimStore(tmp_path / "other.db").close()
    child = start(
        """
store = SqliteClaimStore(args[0])
store.add_instance("i")
os.rename(args[1], args[0])
def ask(name):
    for use in (lambda: store.add_instance("j"), lambda: store.backup(args[0] + ".backup"), store.stats):
        try:
            use()
            say(name, "works")
        except StoreUnavailableError as error:
            say(name, "lost" if "removed or replaced while" in str(error) else error)
if os.fork() == 0:
    hear()
    ask("child")
    os._exit(0)
ask("parent")
store.close()
say("closed")
os.wait()
""",
        tmp_path / "jobs.db",
        tmp_path / "other.db",
    )
    for _ in range(3):
        child.says("parent", "lost")
    child.says("closed")
    child.tell()
    for _ in range(3):
        child.says("child", "lost")
    child.end()


@pytest.mark.parametrize("suffixes", first_is_fast(["-wal -shm", "-shm", "-wal"]))
def test_nobody_opens_a_store_whose_sessions_are_gone_as_well(start: Start, tmp_path: Path, suffixes: str) -> None:
    """The test removes the same files as ``rm jobs.db-*``. SQLite's own lock shows that another process has the
    database open."""
    path = tmp_path / "jobs.db"
    other = start(
        """
store = SqliteClaimStore(args[0], durability="process")
store.add_instance("before")
say("there")
hear()
store.add_instance("unnoticed")
store.close()
say("closed")
""",
        path,
    )
    other.says("there")
    removed(path, *suffixes.split(), "-sessions", "-bell")
    for read_only in (False, True):
        with pytest.raises(StoreUnavailableError, match=r"gone, while other processes have the store open"):
            SqliteClaimStore(path, busy_timeout=0, read_only=read_only)
    assert not any(path.with_name(path.name + suffix).exists() for suffix in suffixes.split())
    other.tell()
    other.says("closed")
    other.end()
    assert stored(start, path) == ["before", "unnoticed"]
