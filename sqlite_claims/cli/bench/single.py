"""What one process does: syncing, adding, claiming and completing, finding."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count

from ...model import NewTask, TaskState
from ...sqlite.maintenance.baseline import BareLoop
from ...store import SqliteClaimStore
from .figures import Figure, figure, side_by_side

WORKER = "bench"
BATCH = 50
_ADDED = 1000
# More than a turn can use up.
_READY, _READY_BARE = 20_000, 60_000
_FEW, _BACKLOG, _BACKLOG_ADDED = 1000, 100_000, 10_000
_BLOCK = bytes(4096)
_SYNCS_MIN = 10
_INPUT = b"input"


def add(store: SqliteClaimStore, number: int, names: Iterator[int]) -> None:
    """Add so many tasks in one transaction; with the first of all, their instance."""
    tasks = [NewTask(f"task-{next(names)}", _INPUT) for _ in range(number)]
    if not store.add_instance("bench", tasks, if_exists="skip"):
        store.add_tasks("bench", tasks)


def cycle(store: SqliteClaimStore) -> None:
    """Claim a task and complete it."""
    (claimed,) = store.claim_available_tasks(WORKER)
    store.complete_task(claimed.claim)


def batch(store: SqliteClaimStore) -> None:
    """The same for some, in two transactions."""
    claimed = store.claim_available_tasks(WORKER, BATCH)
    done, _ = store.complete_tasks([(one.claim, b"") for one in claimed])
    assert len(done) == BATCH


def syncs(folder: str, seconds: float = 0.0) -> list[float]:
    """How long the disk takes to make 4 KiB more of a file last, some times."""
    sync = getattr(os, "fdatasync", os.fsync)
    taken: list[float] = []
    until = time.perf_counter() + seconds
    with open(os.path.join(folder, "synced"), "wb", buffering=0) as file:
        while len(taken) < _SYNCS_MIN or time.perf_counter() < until:
            file.write(_BLOCK)
            began = time.perf_counter()
            sync(file.fileno())
            taken.append(time.perf_counter() - began)
    return taken


def disk(folder: str, seconds: float) -> Figure:
    """The same as a figure."""
    taken = syncs(folder, seconds)
    rate = 1 / statistics.median(taken)
    return figure(
        "sync", "sync of the disk (4 KiB)", [each * 1e3 for each in taken], "ms", f"{rate:,.0f}/s, one after the other"
    )


def figures(folder: str, seconds: float) -> Iterator[Figure]:
    """All but the disk's, in about so many seconds."""
    names = count()
    path = os.path.join(folder, "alone.db")
    with (
        SqliteClaimStore(path, durability="process") as store,
        SqliteClaimStore(os.path.join(folder, "few.db"), durability="process") as few,
        closing(BareLoop(os.path.join(folder, "bare.db"))) as bare,
    ):

        def fill() -> None:
            for _ in range(store.stats().counts[TaskState.READY], _READY, _ADDED):
                add(store, _ADDED, names)
            if bare.left < _READY_BARE:
                bare.add(_READY_BARE - bare.left)

        yield side_by_side(
            "add",
            f"add, {_ADDED:,} a call",
            seconds * 0.2,
            lambda: add(store, _ADDED, names),
            "bare inserts of names",
            lambda: bare.insert([(f"task-{next(names)}", _INPUT) for _ in range(_ADDED)]),
            _ADDED,
        )
        yield side_by_side(
            "cycle",
            "claim and complete, one at a time",
            seconds * 0.3,
            lambda: cycle(store),
            "bare commits",
            bare.cycle,
            before=fill,
        )
        yield side_by_side(
            "batch",
            f"claim and complete, {BATCH} at a time",
            seconds * 0.3,
            lambda: batch(store),
            "bare commits",
            lambda: bare.batch(BATCH),
            BATCH,
            before=fill,
        )
        for _ in range(store.stats().counts[TaskState.READY], _BACKLOG, _BACKLOG_ADDED):
            add(store, _BACKLOG_ADDED, names)
        add(few, _FEW, names)
        ready = store.stats().counts[TaskState.READY]
        yield side_by_side(
            "find",
            f"find 10 among {ready:,}",
            seconds * 0.2,
            lambda: store.find_available_tasks(WORKER, 10),
            f"among {_FEW:,}",
            lambda: few.find_available_tasks(WORKER, 10),
        )
