"""A backup reads through a separate connection, so it blocks no other caller. An interrupted backup leaves no file
behind."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import (
    AsyncSqliteClaimStore,
    InvalidStateError,
    NewTask,
    SqliteClaimStore,
    StoreClosedError,
    StoreUnavailableError,
)
from sqlite_claims.sqlite.maintenance import backup as backups
from sqlite_claims.sqlite.maintenance.long_read import LongRead
from sqlite_claims.sqlite.statements import sql

from ..process.children import Start


class Pause:
    """Stop a backup after its second page and set ``begun``. The backup continues when ``go_on`` is set or when the
    store asks the backup to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backups, "PAGES_PER_STEP", 1)
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.steps = 0
        go_on = LongRead._go_on

        def pausing(read: LongRead[Any]) -> None:
            self.steps += 1
            if self.steps > 2:
                self.begun.set()
            while self.begun.is_set() and not (read._interrupted or self.go_on.wait(0.001)):
                pass
            go_on(read)

        monkeypatch.setattr(LongRead, "_go_on", pausing)


@pytest.fixture
def pause(monkeypatch: pytest.MonkeyPatch) -> Pause:
    return Pause(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process", busy_timeout=0) as store:
        store.add_instance("order", [NewTask(f"t{number}", b"input" * 500) for number in range(20)])
        yield store


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("copy"))


class InAThread:
    """A call that runs in a separate thread."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._error: BaseException | None = None

        def perform() -> None:
            try:
                run()
            except BaseException as error:  # noqa: BLE001 - ``end`` raises the error
                self._error = error

        self._thread = threading.Thread(target=perform)
        self._thread.start()

    def end(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


def test_other_threads_use_the_store_during_a_backup_which_keeps_to_its_moment(
    store: SqliteClaimStore, tmp_path: Path, pause: Pause
) -> None:
    pages_before = store._db.read(lambda db: db.value(sql.page_count))
    backup = InAThread(lambda: store.backup(tmp_path / "copy.db"))
    assert pause.begun.wait(60)
    [work] = store.claim_available_tasks("w", ttl=30)
    store.complete_task(store.renew_task_claim(work.claim, 60), b"output")
    with store.transaction() as tx:
        tx.add_instance("later", [NewTask(f"t{number}", b"input" * 500) for number in range(20)])
    pause.go_on.set()
    backup.end()
    assert pause.steps <= pages_before + 1  # the backup did not start again from the first page
    with SqliteClaimStore(tmp_path / "copy.db") as copy:
        assert copy.check() == []
        assert [info.instance_id for info in copy.list_instances()] == ["order"]
        assert copy.get_task("order", "t0").state == "ready"
    assert not list(tmp_path.glob("*.partial*"))


def test_several_backups_at_once_are_each_whole(store: SqliteClaimStore, tmp_path: Path, pause: Pause) -> None:
    first = InAThread(lambda: store.backup(tmp_path / "copy1.db"))
    assert pause.begun.wait(60)
    store.add_instance("later")
    second = InAThread(lambda: store.backup(tmp_path / "copy2.db"))
    pause.go_on.set()
    for backup in (first, second):
        backup.end()
    names = []
    for number in (1, 2):
        with SqliteClaimStore(tmp_path / f"copy{number}.db") as copy:
            assert copy.check() == []
            names.append([info.instance_id for info in copy.list_instances()])
    assert names == [["order"], ["order", "later"]]


def test_a_store_that_is_opened_for_reading_can_be_backed_up(store: SqliteClaimStore, tmp_path: Path) -> None:
    with SqliteClaimStore(store.path, read_only=True) as reader:
        reader.backup(tmp_path / "copy.db")
    with SqliteClaimStore(tmp_path / "copy.db") as copy:
        assert copy.get_task("order", "t3").input == b"input" * 500


def test_closing_the_store_ends_a_backup(store: SqliteClaimStore, tmp_path: Path, pause: Pause) -> None:
    backup = InAThread(lambda: store.backup(tmp_path / "copy.db"))
    assert pause.begun.wait(60)
    store.close()
    assert copies(tmp_path) == []  # close() has returned, so the backup has ended
    with pytest.raises(StoreClosedError):
        backup.end()
    with pytest.raises(StoreClosedError):
        store.backup(tmp_path / "copy.db")


def test_a_signal_handler_may_close_the_store_that_it_has_interrupted_a_backup_of(
    store: SqliteClaimStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = LongRead._go_on

    def close_and_go_on(read: LongRead[Any]) -> None:
        store.close()
        go_on(read)

    monkeypatch.setattr(backups, "PAGES_PER_STEP", 1)
    monkeypatch.setattr(LongRead, "_go_on", close_and_go_on)
    with pytest.raises(StoreClosedError):
        store.backup(tmp_path / "copy.db")
    assert copies(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError(errno.EIO, "no", "the disk")], ids=repr)
@pytest.mark.parametrize("place", ["step", "rename", "sync of the folder"])
def test_a_backup_that_is_interrupted_leaves_nothing(
    store: SqliteClaimStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, place: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(backups, "PAGES_PER_STEP", 1)
    with monkeypatch.context() as failing:
        if place == "step":
            failing.setattr(LongRead, "_go_on", fail)
        elif place == "rename":
            failing.setattr(os, "rename", fail)
        else:
            failing.setattr(backups, "sync_folder", fail)
        expected = StoreUnavailableError if isinstance(error, OSError) else type(error)
        with pytest.raises(expected):
            store.backup(tmp_path / "copy.db")
    assert copies(tmp_path) == []
    store.backup(tmp_path / "copy.db")
    store.add_instance("later")
    assert store.check() == []


FORKED = """
from sqlite_claims.sqlite import forks
from sqlite_claims.sqlite.maintenance import backup as backups
from sqlite_claims.sqlite.maintenance.long_read import LongRead
path, target, heeds = args[0], args[1], args[2] == "heeds"
backups.PAGES_PER_STEP = 1
begun, go_on = threading.Event(), threading.Event()

def pausing(read, proceed=LongRead._go_on):
    begun.set()
    while not (go_on.wait(0.001) or (heeds and read._interrupted)):
        pass
    proceed(read)

LongRead._go_on = pausing
forks.WAIT_S = 60 if heeds else 0.01
store = SqliteClaimStore(path)
thread = threading.Thread(target=lambda: store.backup(target))
thread.start()
begun.wait()
if os.fork() == 0:
    ask(path, store)
    os._exit(0)
os.wait()
say("parent", store.add_instance("later"))
go_on.set()
thread.join()
store.close()
with SqliteClaimStore(target) as copy:
    say("sound", copy.check() == [], copy.get_task("order", "t7").state)
"""


def test_a_fork_during_a_backup_waits_for_a_step_and_the_backup_starts_over(
    store: SqliteClaimStore, start: Start, tmp_path: Path
) -> None:
    process = start(FORKED, store.path, tmp_path / "copy.db", "heeds")
    process.says("own", "works")
    process.says("new", "works")
    process.says("parent", True)
    process.says("sound", True, "ready")
    process.end()
    assert not list(tmp_path.glob("*.partial*"))


def test_a_fork_that_a_backup_holds_up_for_too_long_leaves_the_child_without_the_file(
    store: SqliteClaimStore, start: Start, tmp_path: Path
) -> None:
    process = start(FORKED, store.path, tmp_path / "copy.db", "is stuck")
    assert process.says("own")[0] == "StoreClosedError"
    assert process.says("new")[0] == "StoreClosedError"
    process.says("parent", True)
    process.says("sound", True, "ready")
    process.end()


def test_an_asynchronous_store_goes_on_during_a_backup(store: SqliteClaimStore, tmp_path: Path, pause: Pause) -> None:
    async def use() -> None:
        async with AsyncSqliteClaimStore(store.path) as on:
            backup = asyncio.create_task(on.backup(tmp_path / "copy.db"))
            await asyncio.to_thread(pause.begun.wait)
            [work] = await on.claim_available_tasks("w", ttl=30)
            await on.complete_task(work.claim)
            pause.go_on.set()
            await backup

    asyncio.run(use())
    with SqliteClaimStore(tmp_path / "copy.db") as copy:
        assert copy.get_task("order", "t0").state == "ready"


def test_a_cancelled_backup_of_an_asynchronous_store_ends_and_leaves_nothing(
    store: SqliteClaimStore, tmp_path: Path, pause: Pause
) -> None:
    async def use() -> None:
        async with AsyncSqliteClaimStore(store.path) as on:
            backup = asyncio.create_task(on.backup(tmp_path / "copy.db"))
            await asyncio.to_thread(pause.begun.wait)
            backup.cancel()
            with pytest.raises(asyncio.CancelledError):
                await backup
            assert copies(tmp_path) == []
            pause.go_on.set()
            await on.backup(tmp_path / "copy.db")
            async with on.transaction():
                with pytest.raises(InvalidStateError):
                    await on.backup(tmp_path / "copy2.db")

    asyncio.run(use())
    assert copies(tmp_path) == ["copy.db"]


def test_closing_an_asynchronous_store_ends_its_backup(store: SqliteClaimStore, tmp_path: Path, pause: Pause) -> None:
    async def use() -> None:
        on = AsyncSqliteClaimStore(store.path)
        backup = asyncio.create_task(on.backup(tmp_path / "copy.db"))
        await asyncio.to_thread(pause.begun.wait)
        await on.close()
        with pytest.raises(StoreClosedError):
            await backup

    asyncio.run(use())
    assert copies(tmp_path) == []
