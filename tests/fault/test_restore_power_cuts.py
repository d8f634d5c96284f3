"""After a power cut during a restore, the path contains either the old store or the restored backup, never a
mixture."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from random import Random

from sqlite_claims import BackendError, SqliteClaimStore, StoreUnavailableError
from sqlite_claims.testing import ManualClock

from .power import ACKNOWLEDGED, cut_power, record

# This program makes a store whose last commits are in the -wal, because the process that wrote them died. The program
# restores a backup over this store, and then restores the backup to a path at which no file exists.
WORK = """
import os, sys
from sqlite_claims import *

folder = sys.argv[1]
told = os.open(f"{folder}/acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def acknowledge(word):
    os.write(told, f"{word}\\n".encode())

with SqliteClaimStore(f"{folder}/other.db") as store:
    store.add_instance("new", [NewTask(str(n), os.urandom(3000)) for n in range(20)])
    store.backup(f"{folder}/backup.db")
child = os.fork()
if child == 0:
    store = SqliteClaimStore(f"{folder}/jobs.db")
    for number in range(10):
        store.add_instance(f"old-{number}", [NewTask(str(n), os.urandom(3000)) for n in range(4)])
    os._exit(0)
os.waitpid(child, 0)
acknowledge("begun")
restore(f"{folder}/backup.db", f"{folder}/jobs.db", replace=True)
acknowledge("replaced")
restore(f"{folder}/backup.db", f"{folder}/fresh.db")
acknowledge("made")
"""
OLD, NEW = [f"old-{number}" for number in range(10)], ["new"]


def instances(path: Path) -> list[str] | None:
    """Return the ids of the instances in the store at this path, or ``None`` if there is no store."""
    try:
        store = SqliteClaimStore(path, create=False, durability="process", clock=ManualClock())
    except StoreUnavailableError:
        return None
    with contextlib.closing(store):
        assert store.check() == []
        return [info.instance_id for info in store.list_instances()]


def test_after_a_power_cut_at_any_moment_the_store_is_the_old_or_the_new_one(recorder: Path, folder: Path) -> None:
    records = record(recorder, folder, WORK)
    begun, replaced, made = (
        next(
            place
            for place, one in enumerate(records, 1)
            if one.name == ACKNOWLEDGED and one.data == f"{word}\n".encode()
        )
        for word in ("begun", "replaced", "made")
    )
    moments = Random(1).sample(range(begun, made), min(150, made - begun))
    seen = set()
    # Cut the power more often just after the program has acknowledged a result, because most guarantees apply at these
    # moments.
    for moment, cuts in [*((moment, 2) for moment in moments), (replaced, 30), (made, 30)]:
        for seed in range(cuts):
            files, told = cut_power(records, moment, Random(moment * 100 + seed))
            disk = folder / "after"
            disk.mkdir()
            for name, data in files.items():
                (disk / name).write_bytes(Random(moment).randbytes(len(data)) if name.endswith("-shm") else data)
            where = f"cut at {moment} of {len(records)}, {seed=}"
            try:
                found = instances(disk / "jobs.db"), instances(disk / "fresh.db")
            except BackendError as error:
                raise AssertionError(where) from error
            assert found[0] in ([NEW] if "replaced" in told else [OLD, NEW]), where
            assert found[1] in ([NEW] if "made" in told else [None, NEW]), where
            seen.add((found[0] == NEW, found[1] == NEW))
            shutil.rmtree(disk)
    assert seen == {(False, False), (True, False), (True, True)}
