"""Stores that a process may read but not write: on a read-only mount, in another user's folder, on a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite_claims import NewTask, SqliteClaimStore, StoreBusyError, StoreUnavailableError, restore
from sqlite_claims.sqlite import connection, read_only

from ..process.children import Start
from ..tiers import first_is_fast
from .test_full_disk import fill
from .test_restores import RESTORE

KILLED = """
store = SqliteClaimStore(args[0])
store.add_instance("in the -wal", [NewTask("t")])
say("written")
hear()
"""
# This program changes to a user who may only read the store. The program imports all modules first, because the new
# user may not be able to read the modules' files.
AS_NOBODY = """
from sqlite_claims.sqlite import read_only
SqliteClaimStore(args[0] + ".elsewhere").close()
os.setgid(65534)
os.setuid(65534)
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


@pytest.fixture
def medium(mount: Callable[..., Path]) -> Path:
    folder = mount()
    with SqliteClaimStore(folder / "jobs.db") as store:
        store.add_instance("i", [NewTask("t", b"input")])
    return folder


def make_read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def leave_a_wal(start: Start, path: Path) -> None:
    writer = start(KILLED, path)
    writer.says("written")
    writer.kill()


def test_a_closed_store_on_a_read_only_mount_is_read_by_every_reading_method(medium: Path, tmp_path: Path) -> None:
    before = names(medium)
    make_read_only(medium)
    with SqliteClaimStore(medium / "jobs.db", read_only=True) as store:
        assert [task.task_id for task in store.find_available_tasks("worker", 5)] == ["t"]
        assert store.wait_for_tasks(0)
        assert store.get_task("i", "t").input == b"input"
        assert [info.instance_id for info in store.list_instances()] == ["i"]
        assert "has been ready" in store.explain_task("i", "t")
        assert store.check() == []
        store.backup(tmp_path / "copy.db")
    assert names(medium) == before
    restore(tmp_path / "copy.db", tmp_path / "restored.db")
    restore(medium / "jobs.db", tmp_path / "restored too.db")
    for name in ("restored.db", "restored too.db"):
        with SqliteClaimStore(tmp_path / name) as store:
            assert store.claim_task("i", "t", "worker", 5)


@pytest.mark.parametrize("verb", first_is_fast(["status", "ls", "show", "check", "backup"]))
def test_the_commands_that_read_work_on_a_read_only_mount(medium: Path, tmp_path: Path, verb: str) -> None:
    make_read_only(medium)
    more = {"show": ["i"], "backup": [str(tmp_path / "copy.db")]}.get(verb, [])
    command = [sys.executable, "-m", "sqlite_claims", verb, str(medium / "jobs.db"), *more]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("with_shm", [True, False])
def test_commits_that_a_killed_process_left_in_the_wal_are_read_too(
    start: Start, medium: Path, tmp_path: Path, with_shm: bool
) -> None:
    leave_a_wal(start, medium / "jobs.db")
    if not with_shm:
        (medium / "jobs.db-shm").unlink()
    before = names(medium)
    make_read_only(medium)
    with SqliteClaimStore(medium / "jobs.db", read_only=True) as store:
        assert [info.instance_id for info in store.list_instances()] == ["i", "in the -wal"]
        assert store.check() == []
        store.backup(tmp_path / "copy.db")
    restore(medium / "jobs.db", tmp_path / "restored.db")
    for name in ("copy.db", "restored.db"):
        with SqliteClaimStore(tmp_path / name) as store:
            assert [info.instance_id for info in store.list_instances()] == ["i", "in the -wal"]
    assert names(medium) == before


def test_opening_it_for_writing_says_that_it_can_be_read(medium: Path) -> None:
    make_read_only(medium)
    with pytest.raises(StoreUnavailableError, match="read_only=True reads it"):
        SqliteClaimStore(medium / "jobs.db")


def test_a_restore_that_was_killed_is_not_read_half_way(start: Start, medium: Path, tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "original.db") as store:
        store.add_instance("other", [NewTask("t", bytes(200_000))])
        store.backup(tmp_path / "backup.db")
    restoring = start(RESTORE, tmp_path / "backup.db", medium / "jobs.db", "replace")
    restoring.says("half")
    restoring.kill()
    make_read_only(medium)
    with pytest.raises(StoreUnavailableError):
        SqliteClaimStore(medium / "jobs.db", read_only=True)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """Make a folder that every user can list."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - other users must be able to enter the folder
        yield Path(folder)


@as_root
@pytest.mark.parametrize("has_wal", [False, True])
def test_a_user_who_may_only_read_sees_what_others_write_meanwhile(
    start: Start, tmp_path: Path, reachable: Path, has_wal: bool
) -> None:
    path = reachable / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t")])
    if has_wal:
        leave_a_wal(start, path)
        path.with_name("jobs.db-shm").unlink()
    reader = start(
        AS_NOBODY
        + """
store = SqliteClaimStore(args[1], read_only=True)
while True:
    names = [info.instance_id.replace(" ", "_") for info in store.list_instances()]
    say(store._db.opened.unshared is None, *names)
    if hear() == "end":
        break
try:
    SqliteClaimStore(args[1])
except StoreUnavailableError as error:
    say("read_only=True" in str(error))
""",
        tmp_path / "jobs.db",
        path,
    )
    there = ["i", *(["in_the_-wal"] if has_wal else [])]
    reader.says(False, *there)
    with SqliteClaimStore(path) as store:
        reader.tell()
        reader.says(True, *there)
        store.add_instance("new")
        reader.tell()
        reader.says(True, *there, "new")
    reader.tell("end")
    reader.says(True)
    reader.end()


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a store whose readers cannot create the -shm."""
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        store.add_instance("i", [NewTask("t")])
    connect = connection.connect

    def refuse(path: str, **options: Any) -> apsw.Connection:
        if not os.path.exists(f"{path}-shm"):
            raise apsw.CantOpenError("as on a read-only mount")
        return connect(path, **options)

    monkeypatch.setattr(read_only, "connect", refuse)
    return tmp_path / "jobs.db"


@pytest.mark.parametrize("fails", [False, True])
def test_rows_read_while_another_process_wrote_are_not_returned(alone: Path, fails: bool) -> None:
    with SqliteClaimStore(alone, read_only=True) as store:

        def read(_: Any) -> None:
            with SqliteClaimStore(alone) as writer:
                writer.add_instance("meanwhile")
            if fails:
                raise apsw.CorruptError("half of one state, half of another")

        with pytest.raises(StoreBusyError, match="try again"):
            store._db.read(read)
        assert [info.instance_id for info in store.list_instances()] == ["i", "meanwhile"]


def test_a_backup_of_what_somebody_wrote_to_is_not_kept(alone: Path, tmp_path: Path, monkeypatch: Any) -> None:
    with SqliteClaimStore(alone, read_only=True) as store:
        read: Any = store._backup(tmp_path / "copy.db")
        copy = read._read

        def copy_beside_a_writer(*args: Any) -> None:
            with SqliteClaimStore(alone) as writer:
                writer.add_instance("meanwhile")
            copy(*args)

        monkeypatch.setattr(read, "_read", copy_beside_a_writer)
        with pytest.raises(StoreBusyError):
            read.run()
        assert not (tmp_path / "copy.db").exists()


def test_a_closed_store_on_a_full_disk_is_read(medium: Path) -> None:
    fill(medium)
    with SqliteClaimStore(medium / "jobs.db", read_only=True) as store:
        assert [info.instance_id for info in store.list_instances()] == ["i"]
        assert store.check() == []
