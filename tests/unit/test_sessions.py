"""Sessions that could not be opened, and sessions that end."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite_claims import NewTask, SqliteClaimStore, StoreFullError, StoreUnavailableError
from sqlite_claims.sqlite.sessions import locks
from sqlite_claims.sqlite.sessions.session_file import SessionFile


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.add_instance("i", [NewTask("t")])
        yield store


def descriptors(path: str) -> int:
    """Count the descriptors of this process for a file."""
    own = os.stat(path)
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.path.samestat(os.stat(f"/proc/self/fd/{number}"), own)
        except OSError:
            continue
    return found


def fail_to_commit(store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, make each commit fail with the error of a full disk."""
    execute = store._db.execute

    def failing(statement: str, *args: Any) -> Any:
        if statement == "COMMIT":
            raise apsw.FullError("FullError: database or disk is full")
        return execute(statement, *args)

    monkeypatch.setattr(store._db, "execute", failing)


def test_a_session_whose_row_could_not_be_committed_leaves_no_lock_behind(
    store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors(f"{store.path}-sessions")
    with monkeypatch.context() as patch:
        fail_to_commit(store, patch)
        with pytest.raises(StoreFullError):
            store.open_session("worker")
    assert descriptors(f"{store.path}-sessions") == before
    # The next session gets the number of the session that could not be opened.
    with SqliteClaimStore(store.path) as other, other.open_session("worker"):
        assert [worker.alive for worker in store.list_workers()] == [True]
    assert list(store.list_workers()) == []


def test_a_session_that_can_have_no_descriptor_is_refused_and_leaves_no_row(
    store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), f"{store.path}-sessions")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_descriptor)
        with pytest.raises(StoreUnavailableError, match="Too many open files"):
            store.open_session("worker")
    assert list(store.list_workers()) == []


def test_a_number_whose_lock_is_held_from_before_the_file_was_replaced_is_passed_over(
    store: SqliteClaimStore,
) -> None:
    left_over = SessionFile(store.path).lock(1)
    assert left_over is not None
    with store.open_session("worker") as session:
        assert session.id != 1
        assert [worker.alive for worker in store.list_workers()] == [True]
        os.close(left_over)
        assert [worker.alive for worker in store.list_workers()] == [True]


def test_a_session_that_is_closed_with_claims_loses_them(store: SqliteClaimStore) -> None:
    with store.open_session("worker") as session:
        assert store.claim_task("i", "t", "worker", None, session=session)
    task = store.get_task("i", "t")
    assert (task.claim, task.losses) == (None, 1)
    assert list(store.list_workers()) == []
    session.close()


def test_closing_the_store_ends_its_sessions(store: SqliteClaimStore) -> None:
    session = store.open_session("worker")
    store.close()
    assert session.fileno() == -1
    session.close()
    with SqliteClaimStore(store.path) as again:
        assert list(again.list_workers()) == []


def test_without_these_locks_nobody_looks_dead_and_a_reboot_is_told_by_the_boot_alone(
    store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_SETLK", None)
    monkeypatch.setattr(locks, "_GETLK", None)
    file = SessionFile(store.path)
    assert file.is_alive(1)
    assert not file.anyone_present()
    file.close()
