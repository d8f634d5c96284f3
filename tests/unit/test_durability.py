"""Syncs of the -wal after a commit. One sync is enough for all threads that asked for a sync before this sync began,
but not for threads that asked later."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, StoreFullError, StoreUnavailableError
from sqlite_claims.sqlite.open_files import OpenedFiles
from sqlite_claims.sqlite.wal import durability
from sqlite_claims.sqlite.wal.durability import WalSync


class Disk:
    """A simulated disk that counts syncs, makes each sync wait until the test releases it, and can make syncs fail."""

    def __init__(self) -> None:
        self.syncs = 0
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.errors: list[int] = []

    def sync(self, _: int) -> None:
        self.syncs += 1
        self.begun.release()
        assert self.go_on.acquire(timeout=60)
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(durability, "_sync", disk.sync)
    return disk


@pytest.fixture
def wal(tmp_path: Path) -> Iterator[WalSync]:
    (tmp_path / "jobs.db").touch()
    (tmp_path / "jobs.db-wal").write_bytes(b"frames")
    (tmp_path / "jobs.db-shm").touch()
    sync = WalSync(str(tmp_path / "jobs.db"), OpenedFiles(str(tmp_path / "jobs.db")))
    sync._files.watch()
    yield sync
    sync.close()


class Asking(threading.Thread):
    """A thread that asks for a sync and records the outcome."""

    def __init__(self, wal: WalSync) -> None:
        super().__init__()
        self._wal = wal
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._wal.sync()
        except Exception as error:  # noqa: BLE001 - the test checks the error
            self.error = error

    def outcome(self) -> Exception | None:
        self.join(60)
        assert not self.is_alive()
        return self.error


def asked(wal: WalSync, number: int) -> None:
    """Wait until that many threads have asked for a sync."""
    while wal._newest < number:
        threading.Event().wait(0.001)


def test_all_who_ask_while_a_sync_is_under_way_are_served_by_the_next_one(disk: Disk, wal: WalSync) -> None:
    first = Asking(wal)
    assert disk.begun.acquire(timeout=60)
    others = [Asking(wal) for _ in range(10)]
    asked(wal, 11)
    disk.go_on.release()
    assert first.outcome() is None
    assert disk.begun.acquire(timeout=60)
    assert [other.is_alive() for other in others] == [True] * 10
    disk.go_on.release()
    assert [other.outcome() for other in others] == [None] * 10
    assert disk.syncs == 2


def test_a_request_made_after_a_sync_has_begun_is_not_served_by_it(disk: Disk, wal: WalSync) -> None:
    first = Asking(wal)
    assert disk.begun.acquire(timeout=60)
    second = Asking(wal)
    asked(wal, 2)
    disk.go_on.release()
    assert first.outcome() is None
    assert disk.begun.acquire(timeout=60)
    assert second.is_alive()
    disk.go_on.release()
    assert second.outcome() is None


@pytest.mark.parametrize(
    ("number", "ours"),
    [(errno.ENOSPC, StoreFullError), (errno.EDQUOT, StoreFullError), (errno.EIO, StoreUnavailableError)],
)
def test_a_sync_that_fails_serves_nobody(disk: Disk, wal: WalSync, number: int, ours: type[Exception]) -> None:
    disk.errors = [number]
    first = Asking(wal)
    assert disk.begun.acquire(timeout=60)
    second = Asking(wal)
    asked(wal, 2)
    disk.go_on.release()
    error = first.outcome()
    assert type(error) is ours
    assert "may not survive power loss" in str(error)
    assert disk.begun.acquire(timeout=60)
    disk.go_on.release()
    assert second.outcome() is None


def test_a_wal_that_is_made_anew_is_the_one_that_is_synced(disk: Disk, wal: WalSync, tmp_path: Path) -> None:
    """A fork closes the connection, which removes the -wal. The next call creates a new one."""
    for _ in range(2):
        disk.go_on.release()
    wal.sync()
    wal.close()
    (tmp_path / "jobs.db-wal").unlink()
    wal.sync()  # the -wal is gone, so there is no data for a sync to save
    assert disk.syncs == 1
    (tmp_path / "jobs.db-wal").write_bytes(b"others")
    wal._files.watch()
    wal.sync()
    assert disk.syncs == 2
    assert wal._inode == (os.stat(tmp_path / "jobs.db-wal").st_dev, os.stat(tmp_path / "jobs.db-wal").st_ino)


DURABLE = {
    "add_instance": lambda store, _: store.add_instance("new", [NewTask("t")]),
    "add_tasks": lambda store, _: store.add_tasks("i", [NewTask("new")]),
    "complete_task": lambda store, claims: store.complete_task(claims[0]),
    "complete_tasks": lambda store, claims: store.complete_tasks([(claims[0], b"")]),
    "fail_task": lambda store, claims: store.fail_task(claims[0], "e"),
    "fail_tasks": lambda store, claims: store.fail_tasks([(claims[0], "e")]),
    "pause_instance": lambda store, _: store.pause_instance("i"),
    "cancel_instance": lambda store, _: store.cancel_instance("i"),
    "retry_task": lambda store, _: store.retry_task("i", "failed"),
    "transaction": lambda store, _: _in_transaction(store),
}
FLEETING = {
    "claim_task": lambda store, _: store.claim_task("i", "t5", "w", 1),
    "claim_available_tasks": lambda store, _: store.claim_available_tasks("w", 1, 1),
    "renew_task_claim": lambda store, claims: store.renew_task_claim(claims[0], 5),
    "extend_task_claim": lambda store, _: store.extend_task_claim("i", "t0", "w", 5),
    "release_task": lambda store, claims: store.release_task(claims[0]),
    "release_task_claim": lambda store, _: store.release_task_claim("i", "t0", "w"),
    "find_available_tasks": lambda store, _: store.find_available_tasks("w", 5),
    "stats": lambda store, _: store.stats(),
    "open_session": lambda store, _: store.open_session("w"),
}


def _in_transaction(store: SqliteClaimStore) -> None:
    with store.transaction() as tx:
        tx.add_instance("new")


@pytest.mark.parametrize("mode", ["full", "process"])
def test_only_operations_that_must_not_be_lost_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    syncs: list[int] = []
    monkeypatch.setattr(durability, "_sync", syncs.append)
    for name, call in {**DURABLE, **FLEETING}.items():
        with SqliteClaimStore(tmp_path / f"{name}.db", durability=mode) as store:  # type: ignore[arg-type]
            store.add_instance("i", [NewTask("failed", max_attempts=1), *(NewTask(f"t{n}") for n in range(6))])
            failed = store.claim_task("i", "failed", "w", 60)
            assert failed is not None
            store.fail_task(failed, "e")
            claims = [store.claim_task("i", "t0", "w", 60)]
            syncs.clear()
            call(store, claims)  # type: ignore[no-untyped-call]
            assert bool(syncs) == (mode == "full" and name in DURABLE), name
