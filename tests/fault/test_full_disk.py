"""A full disk, or a limit on the size of files: operations fail and change nothing. Once there is space again,
operations succeed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, StoreFullError, TaskClaim

from ..process.children import Start


def fill(folder: Path) -> Path:
    """Fill all free space of the file system."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


def claim(store: SqliteClaimStore, task_id: str) -> TaskClaim:
    made = store.claim_task("i", task_id, "worker", 600)
    assert made is not None
    return made


def seen(store: SqliteClaimStore) -> list[Any]:
    return [list(store.list_instances()), list(store.list_tasks()), sorted(map(repr, store.list_claims()))]


def in_a_transaction(store: SqliteClaimStore) -> None:
    with store.transaction() as tx:
        for number in range(5):
            tx.add_instance(f"tx{number}", [NewTask("t", os.urandom(800_000))])


WRITES: dict[str, Callable[[SqliteClaimStore, TaskClaim], Any]] = {
    "adding": lambda store, _: store.add_instance("big", [NewTask("t", os.urandom(3_000_000))]),
    "adding many": lambda store, _: store.add_tasks("i", [NewTask(f"m{n}", os.urandom(20_000)) for n in range(99)]),
    "completing": lambda store, claim: store.complete_task(claim, os.urandom(3_000_000)),
    "failing": lambda store, claim: store.fail_task(claim, "e" * 3_000_000),
    "a transaction": lambda store, _: in_a_transaction(store),
}


@pytest.mark.parametrize("durability", ["full", "process"])
@pytest.mark.parametrize("what", WRITES)
def test_a_write_on_a_full_disk_changes_nothing_and_succeeds_once_there_is_room(
    mount: Callable[..., Path], what: str, durability: Any
) -> None:
    folder = mount("16m")
    with SqliteClaimStore(folder / "jobs.db", durability=durability) as store:
        store.add_instance("i", [NewTask("t"), NewTask("u", depends_on=["t"])])
        held = claim(store, "t")
        filler = fill(folder)
        before = seen(store)
        for _ in range(2):
            with pytest.raises(StoreFullError, match="full"):
                WRITES[what](store, held)
            assert seen(store) == before
        assert store.check() == []
        filler.unlink()
        WRITES[what](store, held)
        assert seen(store) != before
        assert store.check() == []


def test_a_full_disk_lets_a_store_be_read_and_neither_made_nor_backed_up(mount: Callable[..., Path]) -> None:
    folder = mount("4m")
    with SqliteClaimStore(folder / "jobs.db") as store:
        store.add_instance("i", [NewTask("t")])
        filler = fill(folder)
        names = sorted(path.name for path in folder.iterdir())
        assert [task.task_id for task in store.find_available_tasks("worker", 5)] == ["t"]
        with pytest.raises(StoreFullError):
            SqliteClaimStore(folder / "new.db")
        with pytest.raises(StoreFullError):
            store.backup(folder / "copy.db")
        # SQLite has created new.db before it ran out of space. The file new.db may remain, because a later call can
        # turn the file into a store.
        assert [name for name in names if name.startswith("copy")] == []
        assert sorted(path.name for path in folder.iterdir() if path.name != "new.db") == names
        filler.unlink()
        store.backup(folder / "copy.db")
        SqliteClaimStore(folder / "new.db").close()


def test_checkpoints_that_find_a_full_disk_leave_commits_alone(mount: Callable[..., Path], start: Start) -> None:
    folder = mount("8m")
    worker = start(
        """
from sqlite_claims.sqlite.wal import checkpoints
checkpoints.PASSIVE_FRAMES = 10
store = SqliteClaimStore(args[0])
number = 0
while True:
    number += 1
    try:
        store.add_instance(f"n{number}", [NewTask("t", bytes(20000))])
    except StoreFullError:
        say("full", number)
        if hear() == "end":
            break
say("sound", [finding for finding in store.check() if "checkpoints of this process fail" not in finding] == [])
""",
        folder / "jobs.db",
    )
    first = int(worker.says("full")[0])
    worker.tell("again")
    assert int(worker.says("full")[0]) == first + 1
    worker.tell("end")
    worker.says("sound", True)
    worker.end()
    with SqliteClaimStore(folder / "jobs.db") as store:
        assert len(list(store.list_instances())) == first - 1


def test_a_limit_on_the_size_of_files_is_as_a_full_disk(start: Start, tmp_path: Path) -> None:
    limited = start(
        """
import resource
store = SqliteClaimStore(args[0])
store.add_instance("i", [NewTask("t")])
claim = store.claim_task("i", "t", "worker", 600)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, most))
for _ in range(2):
    try:
        store.complete_task(claim, bytes(3_000_000))
    except StoreFullError:
        say("full", store.get_task("i", "t").state)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
store.complete_task(claim, bytes(3_000_000))
say("then", store.get_task("i", "t").state, store.check())
""",
        tmp_path / "jobs.db",
    )
    limited.says("full", "claimed")
    limited.says("full", "claimed")
    limited.says("then", "completed", "[]")
    limited.end()
