"""Copies of a store that were made without the library and are used as stores. New tokens of the copy are larger than
all tokens of the original store."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from sqlite_claims import NewTask, SqliteClaimStore, StoreUnavailableError, TaskState
from sqlite_claims.clock import UNKNOWN_BOOT
from sqlite_claims.sqlite import store_time
from sqlite_claims.sqlite.files import copies
from sqlite_claims.sqlite.files.copies import Identity
from sqlite_claims.testing import ManualClock

from ..process.children import Start

Open = Callable[[Path], SqliteClaimStore]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def open_store(clock: ManualClock) -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def open_store(path: Path) -> SqliteClaimStore:
            return stack.enter_context(SqliteClaimStore(path, durability="process", clock=clock))

        yield open_store


@pytest.fixture
def original(tmp_path: Path, open_store: Open) -> Path:
    """Make a closed store with one claimed task and one free task."""
    path = tmp_path / "original" / "jobs.db"
    path.parent.mkdir()
    store = open_store(path)
    store.add_instance("i", [NewTask("held", max_lost=1), NewTask("free")])
    assert store.claim_task("i", "held", "worker", None)
    store.close()
    return path


def token(store: SqliteClaimStore) -> int:
    claim = store.claim_task("i", "free", "worker", 60)
    assert claim is not None
    store.release_task(claim)
    return claim.token


def go_on(path: Path, open_store: Open, clock: ManualClock) -> int:
    """Use the original store during several more boots. Return the largest token that it issued."""
    for _ in range(3):
        clock.advance(5)
        store = open_store(path)
        largest = max(token(store) for _ in range(20))
        store.close()
        clock.reboot()
    return largest


def held(store: SqliteClaimStore) -> tuple[TaskState, int]:
    task = store.get_task("i", "held")
    return task.state, task.losses


def copied(original: Path, folder: Path) -> Path:
    return Path(shutil.copy(original, folder / "copy.db"))


def copied_with_its_attributes(original: Path, folder: Path) -> Path:
    return Path(shutil.copy2(original, folder / "copy.db"))


def vacuumed_into(original: Path, folder: Path) -> Path:
    with contextlib.closing(apsw.Connection(str(original))) as connection:
        connection.execute("VACUUM INTO ?", (str(folder / "copy.db"),))
    return folder / "copy.db"


def copied_with_all_that_stands_beside_it(original: Path, folder: Path) -> Path:
    return Path(shutil.copytree(original.parent, folder / "copy")) / original.name


WAYS = [copied, copied_with_its_attributes, vacuumed_into, copied_with_all_that_stands_beside_it]
ways = pytest.mark.parametrize("way", WAYS)


@ways
def test_a_copy_gives_larger_tokens_than_the_original_will_and_ends_its_claims_without_a_loss(
    original: Path, tmp_path: Path, open_store: Open, clock: ManualClock, way: Callable[[Path, Path], Path]
) -> None:
    path = way(original, tmp_path)
    largest = go_on(original, open_store, clock)
    copy = open_store(path)
    assert token(copy) > largest
    assert held(copy) == (TaskState.READY, 0)
    assert copy.check() == []
    first = token(copy)
    copy.close()
    assert token(open_store(path)) == first + 1  # the copy is now an independent store


@pytest.mark.parametrize("born", [True, False], ids=["", "without times of birth"])
def test_that_needs_no_boot_in_between(
    original: Path, tmp_path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch, born: bool
) -> None:
    if not born:
        monkeypatch.setattr(copies, "_born_ns", lambda *_: 0)
        store = open_store(original)
        store.close()
    path = copied(original, tmp_path)
    store = open_store(original)
    largest = max(token(store) for _ in range(20))
    assert held(store) == (TaskState.CLAIMED, 0)
    copy = open_store(path)
    assert token(copy) > largest
    assert held(copy) == (TaskState.READY, 0)


@pytest.mark.parametrize("over", [True, False], ids=["written over it", "in its place"])
@pytest.mark.parametrize("reboots", [False, True])
def test_a_copy_that_is_put_back_gives_larger_tokens_than_those_since(
    original: Path, tmp_path: Path, open_store: Open, clock: ManualClock, over: bool, reboots: bool
) -> None:
    path = copied(original, tmp_path)
    if reboots:
        largest = go_on(original, open_store, clock)
    else:
        clock.advance(5)
        store = open_store(original)
        largest = max(token(store) for _ in range(20))
        store.close()
    inode = original.stat().st_ino
    if over:
        shutil.copy(path, original)
        assert original.stat().st_ino == inode
    else:
        original.unlink()
        shutil.copy(path, original)
    store = open_store(original)
    assert token(store) > largest
    assert held(store) == (TaskState.READY, 0)


def test_a_store_that_lost_its_wal_gives_larger_tokens_than_those_that_were_in_it(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    SqliteClaimStore(path).close()
    killed = start(
        """
store = SqliteClaimStore(args[0])
store.add_instance("i", [NewTask("t")])
store._db.checkpoint()
for _ in range(3):
    store.release_task(store.claim_task("i", "t", "worker", 60))
store._db.time._seen = 0  # as if a second had passed
claim = store.claim_task("i", "t", "worker", 60)
say("token", claim.token)
hear()
""",
        path,
    )
    (largest,) = killed.says("token")
    killed.kill()
    for suffix in ("-wal", "-shm"):
        os.unlink(f"{path}{suffix}")
    with SqliteClaimStore(path) as store:
        claim = store.claim_task("i", "t", "worker", 60)
        assert claim is not None
        assert claim.token > int(largest) + 1000


@pytest.mark.parametrize("what", ["moved", "moved alone", "vacuumed", "in another folder", "without its -sessions"])
def test_a_file_that_is_no_copy_keeps_its_claims_and_its_tokens(
    original: Path, tmp_path: Path, open_store: Open, what: str
) -> None:
    path = original
    store = open_store(path)
    last = token(store)
    store.close()
    if what == "moved":
        path = original.parent.rename(tmp_path / "elsewhere") / original.name
    elif what == "moved alone":
        path = original.rename(tmp_path / "elsewhere.db")
    elif what == "in another folder":
        (tmp_path / "link").symlink_to(original.parent)
        path = tmp_path / "link" / original.name
    elif what == "vacuumed":
        with contextlib.closing(apsw.Connection(str(path))) as connection:
            connection.execute("VACUUM")
    else:
        os.unlink(f"{path}-sessions")
    store = open_store(path)
    assert token(store) == last + 1
    assert held(store) == (TaskState.CLAIMED, 0)


def test_the_same_file_seen_on_another_device_gives_larger_tokens_and_keeps_its_claims(
    original: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulate a restored snapshot of the disk, or a file system that was mounted again with a different device
    number."""
    identity_of = copies.identity_of

    def elsewhere(path: str) -> Identity:
        found = identity_of(path)
        return found._replace(device=found.device + 1)

    store = open_store(original)
    last = token(store)
    monkeypatch.setattr(store_time, "identity_of", elsewhere)
    # While the first store object is open, the store treats the second path as a second name of the same file.
    other = open_store(original)
    assert token(other) == last + 1
    assert token(store) == last + 2
    other.close()
    store.close()
    store = open_store(original)
    assert token(store) >> 32 > last >> 32
    assert held(store) == (TaskState.CLAIMED, 0)
    last = token(store)
    store.close()
    assert token(open_store(original)) == last + 1


def test_a_file_that_was_put_in_the_place_of_one_in_use_is_refused(
    original: Path, tmp_path: Path, clock: ManualClock
) -> None:
    copied(original, tmp_path)
    store = SqliteClaimStore(original, durability="process", clock=clock)
    (tmp_path / "copy.db").rename(original)
    with pytest.raises(StoreUnavailableError, match="the file has replaced a file that is still in use"):
        SqliteClaimStore(original, clock=clock)
    with contextlib.suppress(StoreUnavailableError):
        store.close()


def test_a_copy_that_is_only_read_is_left_as_it_is(original: Path, tmp_path: Path) -> None:
    path = copied(original, tmp_path)
    before = path.read_bytes()
    with SqliteClaimStore(path, read_only=True) as store:
        assert held(store) == (TaskState.CLAIMED, 0)
    assert path.read_bytes() == before


def test_processes_that_put_a_copy_to_work_at_once_agree_on_its_tokens(tmp_path: Path, start: Start) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        store.add_instance("i", [NewTask(f"t{number}") for number in range(4)])
        store.claim_task("i", "t0", "worker", None)
    shutil.copy(tmp_path / "jobs.db", tmp_path / "copy.db")
    program = """
hear()
store = SqliteClaimStore(args[0])
[work] = store.claim_available_tasks("worker", ttl=None)
say("epoch", work.claim.token >> 32)
hear()
"""
    children = [start(program, tmp_path / "copy.db") for _ in range(4)]
    for child in children:
        child.tell()
    epochs = {child.says("epoch")[0] for child in children}
    assert epochs == {str(store_time._EPOCHS_PER_COPY)}
    with SqliteClaimStore(tmp_path / "copy.db") as store:
        assert len(list(store.list_claims())) == 4


def test_a_store_of_before_there_were_records_of_files_gets_one(
    original: Path, tmp_path: Path, open_store: Open
) -> None:
    with contextlib.closing(apsw.Connection(str(original))) as connection:
        connection.execute("UPDATE claims_meta SET boot_id = 'boot-1'")
    store = open_store(original)
    last = token(store)
    assert last < 1000
    assert held(store) == (TaskState.CLAIMED, 0)
    store.close()
    copy = open_store(copied(original, tmp_path))
    assert token(copy) >> 32 > 0


def test_without_boot_ids_tokens_rise_whenever_the_store_is_opened_first(
    original: Path, open_store: Open, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "boot_id", lambda: UNKNOWN_BOOT)
    store = open_store(original)
    last = token(store)
    other = open_store(original)
    assert token(other) == last + 1
    assert held(other) == (TaskState.CLAIMED, 0)
    store.close()
    other.close()
    store = open_store(original)
    assert token(store) >> 32 == (last >> 32) + 1
    assert held(store) == (TaskState.CLAIMED, 0)
    store.close()
    monkeypatch.undo()
    assert held(open_store(original)) == (TaskState.CLAIMED, 0)  # the file already contains the id of this boot


def test_epochs_do_not_run_out_by_copies_alone_and_their_end_is_told(
    original: Path, tmp_path: Path, open_store: Open
) -> None:
    for floor, raised in (((1 << 62), True), ((1 << 63) - (2 << 32), True), ((1 << 63) - (1 << 32), False)):
        with contextlib.closing(apsw.Connection(str(original))) as connection:
            connection.execute("UPDATE claims_meta SET token_floor = ?", (floor,))
        path = copied(original, tmp_path)
        if raised:
            copy = open_store(path)
            assert floor < token(copy) < (1 << 63)
            copy.close()
        else:
            with pytest.raises(StoreUnavailableError, match="used up"):
                open_store(path)


def test_the_record_of_a_file_is_made_with_its_tables(original: Path) -> None:
    with contextlib.closing(apsw.Connection(str(original))) as connection:
        ((boot_id,),) = connection.execute("SELECT boot_id FROM claims_meta").fetchall()
    assert copies.split(str(boot_id)) == ("boot-1", copies.identity_of(str(original)))
