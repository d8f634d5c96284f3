"""After a failed sync, no process acknowledges a result until all -wal frames have been written and synced once
more."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from sqlite_claims import NewTask, SqliteClaimStore, StoreUnavailableError, TaskState
from sqlite_claims.sqlite.sessions.locks import locked
from sqlite_claims.sqlite.statements import sql
from sqlite_claims.sqlite.wal import checkpoints, durability
from sqlite_claims.sqlite.wal.durability import WalSync, recover
from sqlite_claims.sqlite.wal.failed_sync import UnsyncedMark, write_again

from ..process.children import Start


class Disk:
    """Make a given number of syncs fail, and record how many -wal frames are written again each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = 0
        self.frames: list[int] = []
        real = WalSync.write_again

        def sync(_: int) -> None:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        def write_again(wal: WalSync, frames: int, failure: bytes) -> None:
            self.frames.append(frames)
            real(wal, frames, failure)

        monkeypatch.setattr(durability, "_sync", sync)
        monkeypatch.setattr(WalSync, "write_again", write_again)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def is_marked(path: Path) -> bool:
    data = path.with_name(path.name + "-sessions").read_bytes()
    return data[:8] != data[8:16]


def test_the_next_result_of_any_store_waits_until_all_is_written_again(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as one, SqliteClaimStore(path) as other:
        other.add_instance("before")
        disk.failures = 1
        with pytest.raises(StoreUnavailableError, match="could not be synced"):
            one.add_instance("told")
        assert is_marked(path)
        assert disk.frames == []
        other.add_instance("after")
        assert not is_marked(path)
        assert len(disk.frames) == 1
        one.add_instance("last")
        assert len(disk.frames) == 1


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_as_long_as_writing_again_fails_nothing_is_acknowledged(disk: Disk, tmp_path: Path, failures: int) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        for number in range(failures):
            # In the first round, only the sync of the result fails. In later rounds, three syncs fail. The first is the
            # sync of the new result. The second only collects earlier errors of the descriptor. The third is the sync
            # of the frames that the store has written again.
            disk.failures = 1 if number == 0 else 3
            with pytest.raises(StoreUnavailableError, match="could not be synced"):
                store.add_instance(f"told{number}")
            disk.failures = 0
            assert is_marked(path)
        with store.transaction() as tx:
            tx.add_instance("after")
        assert not is_marked(path)


def test_the_mark_outlives_the_process_that_left_it(start: Start, disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        child = start(
            """
import errno
from sqlite_claims.sqlite.wal import durability
store = SqliteClaimStore(args[0])
def fail(_):
    raise OSError(errno.EIO, "no disk")
durability._sync = fail
try:
    store.add_instance("told")
except StoreUnavailableError:
    os.kill(os.getpid(), signal.SIGKILL)
""",
            path,
        )
        assert child.rest() == []
        child.wait()
        assert is_marked(path)
        store.add_instance("after")
        assert len(disk.frames) == 1
        assert not is_marked(path)


def test_a_wal_that_a_killed_process_left_is_written_again_first(start: Start, disk: Disk, tmp_path: Path) -> None:
    """The killed process may have died within a failed sync. In that case, the kernel has reported the failure to no
    process."""
    path = tmp_path / "jobs.db"
    program = 'store = SqliteClaimStore(args[0]); store.add_instance("before"); os.kill(os.getpid(), signal.SIGKILL)'
    child = start(program, path)
    assert child.rest() == []
    child.wait()
    with SqliteClaimStore(path) as store:
        assert is_marked(path)
        store.add_instance("after")
        assert len(disk.frames) == 1


def test_a_failure_that_was_made_good_meanwhile_is_no_news_for_other_descriptors(disk: Disk, tmp_path: Path) -> None:
    """The kernel reports a failed sync once to each open descriptor."""
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as one, SqliteClaimStore(path) as other:
        other.add_instance("before")
        disk.failures = 1
        with pytest.raises(StoreUnavailableError, match="could not be synced"):
            one.add_instance("told")
        one.add_instance("after")
        disk.failures = 1
        other.add_instance("not told")
        assert len(disk.frames) == 2
        assert not is_marked(path)


class Between:
    """A connection that calls a function just before the writer's lock is taken for the first time."""

    def __init__(self, connection: apsw.Connection, happens: Callable[[], object]) -> None:
        self._connection = connection
        self._happens: Callable[[], object] | None = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str) -> apsw.Cursor:
        if statement == sql.begin_write and self._happens is not None:
            happens, self._happens = self._happens, None
            happens()
        return self._connection.execute(statement)


def test_a_sync_that_fails_while_an_earlier_one_is_made_good_is_made_good_too(disk: Disk, tmp_path: Path) -> None:
    """A second sync fails during the recovery. Its frames were written after the store had counted the frames to write
    again."""
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as one, SqliteClaimStore(path, durability="process") as other:
        one.add_instance("before")
        one._db.files.sync.mark_failed()

        def happens() -> None:
            other.add_instance("meanwhile")
            disk.failures = 1

        recover(one._db.files.sync, cast("apsw.Connection", Between(one._db.connection, happens)))
        assert disk.failures == 0
        frames, _ = one._db._checkpoint(apsw.SQLITE_CHECKPOINT_NOOP)
        assert disk.frames[-1] == frames
        assert not is_marked(path)


@pytest.mark.parametrize("when", ["before the frames are counted", "after they were written"])
def test_a_failure_that_is_heard_while_making_good_outlives_that_an_earlier_one_is(
    disk: Disk, tmp_path: Path, when: str
) -> None:
    """The store that recovers from the earlier failure may have counted the frames to write again before the frames of
    the later failure were written."""
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as one, SqliteClaimStore(path) as other:
        one.add_instance("before")
        one._db.files.sync.mark_failed()
        frames, _ = one._db._checkpoint(apsw.SQLITE_CHECKPOINT_NOOP)
        earlier = one._db.files.sync.failure()
        if when == "before the frames are counted":
            disk.failures = 1
            later = other._db.files.sync.failure()
        else:
            later = other._db.files.sync.failure()
            assert later == earlier
            disk.failures = 1
            with pytest.raises(StoreUnavailableError, match="could not be synced"):
                other._db.files.sync.write_again(frames, later)
            later = other._db.files.sync.failure()
        one._db.files.sync.write_again(frames, earlier)
        assert is_marked(path)
        other._db.files.sync.write_again(frames, later)
        assert not is_marked(path)


def test_no_checkpoint_copies_what_the_disk_may_not_have(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.db"
    monkeypatch.setattr(checkpoints, "PASSIVE_FRAMES", 1)
    with SqliteClaimStore(path, durability="process") as store:
        store._db.files.sync.mark_failed()
        size = path.stat().st_size
        disk.failures = 1000
        store._db.checkpoint()
        store.add_instance("i", [NewTask(f"t{n}") for n in range(1000)])
        assert store._db.opened.checkpointer is not None
        assert store._db.opened.checkpointer.close()
        assert path.stat().st_size == size
    assert path.stat().st_size == size  # close() did not remove the -wal
    disk.failures = 0
    with SqliteClaimStore(path, durability="process") as store:
        assert store.stats().counts[TaskState.READY] == 1000
    assert path.stat().st_size > size
    assert not is_marked(path)


def test_pages_copied_before_the_sync_of_a_database_failed_are_copied_again(start: Start, tmp_path: Path) -> None:
    """SQLite counts pages as copied before they are synced. Only a checkpoint that reaches the end of the -wal syncs
    these pages."""
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("before", [NewTask(f"t{n}") for n in range(100)])
        store._db.checkpoint()
        before = tmp_path / "before"
        before.write_bytes(path.read_bytes())
        store.add_instance("first", [NewTask(f"t{n}") for n in range(100)])
        reader = apsw.Connection(str(path))
        with reader:
            reader.execute("SELECT count(*) FROM claims_tasks").fetchall()
            store.add_instance("second")
            frames, copied = store._db._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            assert 0 < copied < frames
        reader.close()
        # Simulate a disk that loses the pages that the checkpoint has copied. A separate process overwrites the file,
        # because closing the file in this process would drop SQLite's locks.
        lose = "with open(args[0], 'r+b') as file: file.write(open(args[1], 'rb').read())"
        start(lose, path, before).end()
        store._db.files.sync.note(apsw.exception_for(apsw.SQLITE_IOERR_FSYNC))
        store.add_instance("third")
        assert not is_marked(path)
        frames, copied = store._db._checkpoint(apsw.SQLITE_CHECKPOINT_RESTART)
        assert copied == frames
        store.add_instance("fourth")
    with SqliteClaimStore(path) as store:
        assert store.check() == []
        assert len(list(store.list_tasks("first"))) == 100


def test_copying_again_waits_for_the_checkpoint_that_is_under_way(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i")
        store._db.checkpoint()
        shm = os.open(f"{path}-shm", os.O_RDWR)
        copied = os.pread(shm, 4, 96)
        assert copied != bytes(4)
        with locked(shm, 121) as free, ThreadPoolExecutor(1) as pool:
            assert free
            copying = pool.submit(store._db.files.sync.copy_again)
            with pytest.raises(TimeoutError):
                copying.result(0.1)
            assert os.pread(shm, 4, 96) == copied
            fcntl.fcntl(shm, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 121, 1, 0))
            copying.result()
        assert os.pread(shm, 4, 96) == bytes(4)
    os.close(shm)


def test_a_sync_of_sqlites_own_that_fails_leaves_the_mark_too(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        error = apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        store._db.files.sync.note(error)
        assert is_marked(path)
        store.add_instance("after")
        assert not is_marked(path)
        store._db.files.sync.note(apsw.exception_for(apsw.SQLITE_IOERR_READ))
        assert not is_marked(path)
    assert len(disk.frames) == 1


def test_a_later_failure_counts_although_an_earlier_one_is_made_good(tmp_path: Path) -> None:
    (tmp_path / "jobs.db-sessions").touch()
    one, other = (UnsyncedMark(str(tmp_path / "jobs.db")) for _ in range(2))
    assert not one.is_set()
    one.set()
    failure = one.failure()
    other.set()
    one.clear(failure)
    assert one.is_set()
    assert other.is_set()
    one.clear(one.failure())
    assert not other.is_set()
    one.close()
    other.close()


def test_a_mark_that_cannot_be_left_in_the_file_holds_for_this_process(tmp_path: Path) -> None:
    mark = UnsyncedMark(str(tmp_path / "jobs.db"))
    assert not mark.is_set()
    mark.set()
    assert mark.is_set()


def test_only_frames_that_are_as_they_were_written_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask(f"t{n}") for n in range(100)])
        frames, _ = store._db._checkpoint(apsw.SQLITE_CHECKPOINT_NOOP)
        data = (tmp_path / "jobs.db-wal").read_bytes()
    copy = tmp_path / "copy"
    copy.write_bytes(data)
    descriptor = os.open(copy, os.O_RDWR)
    write_again(descriptor, str(copy), frames)
    assert copy.read_bytes() == data
    for at in (0, 31, 32, 60, 32 + (frames - 1) * (24 + 2048) + 100):
        os.pwrite(descriptor, bytes([data[at] ^ 1]), at)
        with pytest.raises(StoreUnavailableError, match=f"of {frames} pages can still be read"):
            write_again(descriptor, str(copy), frames)
        os.pwrite(descriptor, data[at : at + 1], at)
    os.ftruncate(descriptor, 32)
    with pytest.raises(StoreUnavailableError, match=f"only 0 of {frames} pages"):
        write_again(descriptor, str(copy), frames)
    os.close(descriptor)
