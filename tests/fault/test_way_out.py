"""A full disk can be emptied: cancel and prune work when all other writes fail, because the store has reserved space
for them."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import InstanceState, NewTask, SqliteClaimStore, StoreFullError
from sqlite_claims.sqlite.files import reserve
from sqlite_claims.sqlite.wal import checkpoints

from ..process.children import Start
from ..tiers import first_is_fast
from .test_full_disk import fill


def fill_by_adding(store: SqliteClaimStore) -> int:
    """Add instances until the disk is full. Return the number of instances."""
    number = 0
    for size in (20_000, 2_000, 0):
        with contextlib.suppress(StoreFullError):
            while True:
                store.add_instance(f"n{number}", [NewTask("t", os.urandom(size))])
                number += 1
                if number % 20 == 0:
                    store._db.checkpoint()
    return number


def complete_some(store: SqliteClaimStore, number: int) -> None:
    store.add_instance("ended", [NewTask(f"t{n}", os.urandom(5_000)) for n in range(number)])
    work = store.claim_available_tasks("worker", number, 600)
    store.complete_tasks([(task.claim, b"") for task in work])


@pytest.mark.parametrize("use_c_core", first_is_fast([None, False]))
@pytest.mark.parametrize("durability", first_is_fast(["full", "process"]))
@pytest.mark.parametrize("first", first_is_fast(["prune", "cancel"]))
def test_once_adding_has_filled_the_disk_cancel_and_prune_make_room(
    mount: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, first: str, durability: Any, use_c_core: bool | None
) -> None:
    # without this, a background thread could make a checkpoint at any time
    monkeypatch.setattr(checkpoints, "PASSIVE_FRAMES", 1_000_000)
    folder = mount("24m")
    with SqliteClaimStore(folder / "jobs.db", durability=durability, use_c_core=use_c_core) as store:
        complete_some(store, 300)
        added = fill_by_adding(store)
        if first == "cancel":
            store.cancel_instance("n0", "no room")
            assert store.get_instance("n0").state is InstanceState.CANCELLED
            assert store.prune(0) == 2
        else:
            assert store.prune(0) == 1
            store.cancel_instance("n0", "no room")
        # The same store object remains usable.
        for number in range(10):
            store.add_instance(f"more{number}", [NewTask("t", os.urandom(20_000))])
        [work] = store.claim_available_tasks("worker", 1, 600)
        store.complete_task(work.claim, b"done")
        assert store.check() == []
        assert len(list(store.list_instances())) == added + 10 - (first == "cancel")


def test_a_file_of_somebody_elses_under_the_name_is_never_cut(tmp_path: Path) -> None:
    """Another file may have the name of the -reserve file: for example, a backup that was written before the store
    created its -reserve."""
    path, theirs = tmp_path / "jobs.db", tmp_path / "jobs.db-reserve"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t", os.urandom(2 * reserve.BYTES_MIN))])
        store.backup(tmp_path / "backup.db")
        theirs.unlink()
        (tmp_path / "backup.db").rename(theirs)
        data = theirs.read_bytes()
        assert not reserve.release(str(path))
    SqliteClaimStore(path).close()
    assert theirs.read_bytes() == data


def test_a_closed_store_on_a_full_disk_can_be_opened_and_emptied(mount: Callable[..., Path]) -> None:
    folder = mount("16m")
    with SqliteClaimStore(folder / "jobs.db") as store:
        complete_some(store, 300)
        store.add_instance("open", [NewTask("t", os.urandom(1_000_000))])
    filler = fill(folder)
    assert (folder / "jobs.db-reserve").stat().st_size == reserve.BYTES_MIN
    with SqliteClaimStore(folder / "jobs.db") as store:
        store.cancel_instance("open")
        assert store.prune(0) == 2
        assert store.check() == []
    assert filler.exists()
    # The test freed enough space for new tasks and for the full size of the -reserve file.
    with SqliteClaimStore(folder / "jobs.db") as store:
        store.add_instance("new", [NewTask("t", os.urandom(500_000))])
        assert (folder / "jobs.db-reserve").stat().st_size >= reserve.BYTES_MIN


def test_a_limit_on_the_size_of_files_can_be_made_room_under_too(start: Start, tmp_path: Path) -> None:
    limited = start(
        """
import resource
store = SqliteClaimStore(args[0])
store.add_instance("i", [NewTask(f"t{n}", bytes(5000)) for n in range(150)])
store.add_instance("j", [NewTask("t")])
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(args[0] + "-wal").st_size, most))
number = 0
while True:
    try:
        store.add_instance(f"n{number}", [NewTask("t", bytes(100))])
        number += 1
    except StoreFullError:
        break
store.cancel_instance("i")
say("cancelled", store.get_instance("i").state, store.prune(0), store.check())
""",
        tmp_path / "jobs.db",
    )
    limited.says("cancelled", "cancelled", 1, "[]")
    limited.end()


def test_without_reserved_room_the_error_is_raised_and_nothing_has_changed(mount: Callable[..., Path]) -> None:
    folder = mount("16m")
    with SqliteClaimStore(folder / "jobs.db") as store:
        complete_some(store, 10)
    filler = fill(folder)
    (folder / "jobs.db-reserve").write_bytes(b"")
    with open(filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(StoreFullError):
        SqliteClaimStore(folder / "jobs.db")
    filler.unlink()
    with SqliteClaimStore(folder / "jobs.db") as store:
        assert store.prune(0) == 1


def test_without_inodes_a_store_in_use_goes_on_and_a_closed_one_is_full(mount: Callable[..., Path]) -> None:
    folder = mount("16m")
    subprocess.run(["mount", "-o", "remount,nr_inodes=16", str(folder)], check=True)
    with SqliteClaimStore(folder / "jobs.db") as store:
        complete_some(store, 10)
        taken = []
        with contextlib.suppress(OSError):
            for number in range(100):
                (folder / f"file{number}").touch()
                taken.append(folder / f"file{number}")
        assert len(taken) < 16
        store.add_instance("i", [NewTask("t")])
        store.cancel_instance("i")
        assert store.prune(0) == 2
    (folder / "a").touch()
    (folder / "b").touch()
    with pytest.raises(StoreFullError):
        SqliteClaimStore(folder / "jobs.db")
    taken[0].unlink()
    taken[1].unlink()
    with SqliteClaimStore(folder / "jobs.db") as store:
        assert list(store.list_instances()) == []


def test_room_is_kept_for_whoever_may_use_the_store_and_can_be_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i")
        kept = tmp_path / "jobs.db-reserve"
        assert kept.stat().st_blocks * 512 >= kept.stat().st_size == reserve.BYTES_MIN
        assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IMODE(path.stat().st_mode)
        kept.unlink()
        with SqliteClaimStore(path, read_only=True):
            assert not kept.exists()
        store.add_instance("j")
    assert kept.exists()
    kept.unlink()
    SqliteClaimStore(path).close()
    assert kept.stat().st_size == reserve.BYTES_MIN


def test_room_grows_with_the_wal_to_a_part_of_what_is_free(mount: Callable[..., Path]) -> None:
    folder = mount("16m")
    store = str(folder / "jobs.db")
    (folder / "jobs.db").touch()
    reserve.keep(store, 1 << 20)
    assert os.stat(f"{store}-reserve").st_size == 1 << 20
    reserve.keep(store, 1 << 30)
    assert (2 << 20) < os.stat(f"{store}-reserve").st_size < (5 << 20)
    reserve.keep(store)
    assert os.stat(f"{store}-reserve").st_size > (2 << 20)
    reserve.keep_least(store)
    assert os.stat(f"{store}-reserve").st_size == reserve.BYTES_MIN
    assert reserve.release(store)
    assert not reserve.release(store)


def test_a_cancellation_finds_room_also_where_the_database_has_too_far_to_grow(
    mount: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "PASSIVE_FRAMES", 1_000_000)
    folder = mount("16m")
    with SqliteClaimStore(folder / "jobs.db") as store:
        number = 0
        with contextlib.suppress(StoreFullError):
            while True:  # because no checkpoint is made, all data stays in the -wal
                store.add_instance(f"n{number}", [NewTask("t", os.urandom(50_000))])
                number += 1
        with contextlib.suppress(StoreFullError):
            while True:
                number += 1
                store.add_instance(f"n{number}")
        store.cancel_instance("n0")
        assert store.get_instance("n0").state is InstanceState.CANCELLED
        assert store.prune(0) == 1
        assert store.check() == []


@pytest.mark.parametrize("what", ["a link", "a second name", "a FIFO", "a folder"])
def test_a_file_that_is_not_the_stores_own_is_neither_used_nor_truncated(tmp_path: Path, what: str) -> None:
    (tmp_path / "precious").write_bytes(bytes(1 << 20))
    SqliteClaimStore(tmp_path / "jobs.db").close()
    kept = tmp_path / "jobs.db-reserve"
    kept.unlink()
    if what == "a link":
        kept.symlink_to(tmp_path / "precious")
    elif what == "a second name":
        kept.hardlink_to(tmp_path / "precious")
    elif what == "a FIFO":
        os.mkfifo(kept)
    else:
        kept.mkdir()
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        store.add_instance("i")
        assert not reserve.release(store.path)
        reserve.keep(store.path, 2 << 20)
    assert (tmp_path / "precious").stat().st_size == 1 << 20
