"""The -sessions file is removed while workers live: the workers keep their tasks, and the deaths of workers are soon
noticed again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, StoreBusyError, restore
from sqlite_claims.sqlite import store_connection
from sqlite_claims.sqlite.operations import sweep
from sqlite_claims.sqlite.sessions import session_file

from .children import Child, Start

HOLDER = """
from sqlite_claims.sqlite import store_connection
store_connection.CHECK_EVERY_US = 0
store = SqliteClaimStore(args[0], durability="process")
held = store.open_session("holder")
[work] = store.claim_available_tasks("holder", 1, 3600, session=held)
say("holds", work.task.task_id)
while hear() == "use":
    store.stats()
    say("used")
store.complete_task(work.claim)
held.close()
store.close()
say("completed")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t", max_lost=9)])
    return path


def remove(path: Path) -> None:
    path.with_name(path.name + "-sessions").unlink()


def holder(start: Start, path: Path) -> Child:
    child = start(HOLDER, path)
    child.says("holds", "t")
    return child


def taken(store: SqliteClaimStore) -> list[str]:
    store._db.probed_us = -(1 << 62)
    return [one.task.task_id for one in store.claim_available_tasks("other", 1)]


@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_worker_that_makes_no_call_keeps_its_task(start: Start, path: Path, opened: str) -> None:
    child = holder(start, path)
    with SqliteClaimStore(path) as before:
        remove(path)
        with SqliteClaimStore(path) as after:
            store = before if opened == "before" else after
            for _ in range(3):
                assert taken(store) == []
            assert store.claim_task("i", "t", "other", 1) is None
            assert [worker.alive for worker in store.list_workers()] == [True]
            child.tell()
            child.says("completed")
            child.end()


def test_a_worker_that_makes_no_call_for_long_keeps_its_task_as_long_as_its_process_is_there(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_file, "GRACE_US", 0)
    child = holder(start, path)
    remove(path)
    with SqliteClaimStore(path) as store:
        assert taken(store) == []
        child.kill()
        assert taken(store) == ["t"]


def test_a_worker_that_makes_calls_is_known_again_by_its_lock(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "runs", lambda _: False)  # simulates a process in a different container
    monkeypatch.setattr(session_file, "GRACE_US", 0)
    child = holder(start, path)
    remove(path)
    child.tell("use")
    child.says("used")
    with SqliteClaimStore(path) as store:
        assert taken(store) == []
        child.kill()
        assert taken(store) == ["t"]


def test_a_store_that_still_has_the_old_file_takes_nobody_for_dead_by_it(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_connection, "CHECK_EVERY_US", 1 << 60)
    with SqliteClaimStore(path) as store:
        store.stats()
        remove(path)
        child = holder(start, path)
        assert taken(store) == []
        child.kill()
        assert taken(store) == ["t"]


def test_a_descriptor_that_a_command_has_inherited_stays_the_sessions(path: Path) -> None:
    with SqliteClaimStore(path) as store, store.open_session("w") as held:
        number = held.fileno()
        os.set_inheritable(number, True)
        remove(path)
        store._db.check_files_soon()
        store.stats()
        assert held.fileno() == number
        assert os.get_inheritable(number)
        assert os.fstat(number).st_ino == os.stat(f"{path}-sessions").st_ino


def test_an_instance_that_is_fed_is_not_pruned(start: Start, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = start(
        """
store = SqliteClaimStore(args[0], durability="process")
_, feed = store._add_fed_instance("fed")
store.cancel_instance("fed")
say("feeds")
hear()
store._db.check_files_soon()
store.stats()
say("used")
hear()
""",
        path,
    )
    child.says("feeds")
    with SqliteClaimStore(path) as store, store.open_session("w"):
        remove(path)
        assert store.prune(0) == 0
        child.tell()
        child.says("used")
        monkeypatch.setattr(session_file, "GRACE_US", 0)
        assert store.prune(0) == 0
        child.tell()
        child.end()
        assert store.prune(0) == 1


def test_a_store_that_is_open_is_not_restored_over(path: Path, tmp_path: Path) -> None:
    with SqliteClaimStore(path) as store:
        store.backup(tmp_path / "backup.db")
        remove(path)
        store._db.check_files_soon()
        store.stats()
        with pytest.raises(StoreBusyError):
            restore(tmp_path / "backup.db", path, replace=True)


def test_the_mark_of_a_failed_sync_is_not_forgotten_with_the_file(path: Path) -> None:
    with SqliteClaimStore(path) as store:
        store._db.files.sync.mark_failed()
        remove(path)
        store._db.check_files_soon()
        store.stats()
        assert store._db.files.sync.is_marked()
        store.add_instance("after")
        assert not store._db.files.sync.is_marked()


def test_a_killed_workers_task_is_back_at_once_in_a_file_that_nobody_removed(start: Start, path: Path) -> None:
    child = holder(start, path)
    child.kill()
    with SqliteClaimStore(path) as store:
        assert taken(store) == ["t"]
