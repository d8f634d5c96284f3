"""Measurements with one process: syncing the disk, and adding, claiming, completing and finding tasks."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count

from ...model import NewTask, TaskState
from ...sqlite.maintenance.baseline import BareLoop
from ...sqlite.store import SqliteClaimStore
from .figures import Figure, compare, make_figure

BATCH_TASKS = 50
_WORKER = "bench"
_TASKS_PER_ADD = 1000
# Numbers of ready tasks: more tasks than a process can complete in one turn.
_READY_TASKS, _READY_BARE_TASKS = 20_000, 60_000
_SMALL_BACKLOG, _LARGE_BACKLOG, _BACKLOG_PER_ADD = 1000, 100_000, 10_000
_BLOCK = bytes(4096)
_SYNCS_MIN = 10
_INPUT = b"input"


def add_tasks(store: SqliteClaimStore, number: int, names: Iterator[int]) -> None:
    """Add ``number`` tasks in one transaction. The first call also adds the instance."""
    tasks = [NewTask(f"task-{next(names)}", _INPUT) for _ in range(number)]
    if not store.add_instance("bench", tasks, if_exists="skip"):
        store.add_tasks("bench", tasks)


def claim_and_complete(store: SqliteClaimStore) -> None:
    """Claim a task and complete it."""
    (claimed,) = store.claim_available_tasks(_WORKER)
    store.complete_task(claimed.claim)


def claim_and_complete_batch(store: SqliteClaimStore) -> None:
    """Claim several tasks in one transaction, and complete the tasks in a second transaction."""
    claimed = store.claim_available_tasks(_WORKER, BATCH_TASKS)
    done, _ = store.complete_tasks([(one.claim, b"") for one in claimed])
    assert len(done) == BATCH_TASKS


def sync_seconds(folder: str, *, seconds: float = 0.0) -> list[float]:
    """Append 4 KiB to a file and sync the file to disk, several times. Return the seconds that each sync took."""
    sync = getattr(os, "fdatasync", os.fsync)
    samples: list[float] = []
    until = time.perf_counter() + seconds
    with open(os.path.join(folder, "synced"), "wb", buffering=0) as file:
        while len(samples) < _SYNCS_MIN or time.perf_counter() < until:
            file.write(_BLOCK)
            began = time.perf_counter()
            sync(file.fileno())
            samples.append(time.perf_counter() - began)
    return samples


def disk_figure(folder: str, *, seconds: float) -> Figure:
    """Measure the time of a sync of the disk."""
    samples = sync_seconds(folder, seconds=seconds)
    rate = 1 / statistics.median(samples)
    return make_figure(
        "sync",
        "disk sync (4 KiB)",
        [sample * 1e3 for sample in samples],
        unit="ms",
        baseline=f"{rate:,.0f}/s in sequence",
    )


def figures(folder: str, *, seconds: float) -> Iterator[Figure]:
    """Measure all figures except the syncs of the disk, in about ``seconds`` seconds."""
    names = count()
    with (
        SqliteClaimStore(os.path.join(folder, "single.db"), durability="process") as store,
        SqliteClaimStore(os.path.join(folder, "small.db"), durability="process") as small,
        closing(BareLoop(os.path.join(folder, "bare.db"))) as bare,
    ):

        def refill() -> None:
            for _ in range(store.stats().counts[TaskState.READY], _READY_TASKS, _TASKS_PER_ADD):
                add_tasks(store, _TASKS_PER_ADD, names)
            if bare.left < _READY_BARE_TASKS:
                bare.add(_READY_BARE_TASKS - bare.left)

        yield compare(
            "add",
            f"add, {_TASKS_PER_ADD:,} per call",
            lambda: add_tasks(store, _TASKS_PER_ADD, names),
            "bare inserts",
            lambda: bare.insert([(f"task-{next(names)}", _INPUT) for _ in range(_TASKS_PER_ADD)]),
            seconds=seconds * 0.2,
            per_call=_TASKS_PER_ADD,
        )
        yield compare(
            "cycle",
            "claim and complete, one at a time",
            lambda: claim_and_complete(store),
            "bare commits",
            bare.cycle,
            seconds=seconds * 0.3,
            before=refill,
        )
        yield compare(
            "batch",
            f"claim and complete, {BATCH_TASKS} at a time",
            lambda: claim_and_complete_batch(store),
            "bare commits",
            lambda: bare.batch(BATCH_TASKS),
            seconds=seconds * 0.3,
            per_call=BATCH_TASKS,
            before=refill,
        )
        for _ in range(store.stats().counts[TaskState.READY], _LARGE_BACKLOG, _BACKLOG_PER_ADD):
            add_tasks(store, _BACKLOG_PER_ADD, names)
        add_tasks(small, _SMALL_BACKLOG, names)
        ready = store.stats().counts[TaskState.READY]
        yield compare(
            "find",
            f"find 10 of {ready:,} ready tasks",
            lambda: store.find_available_tasks(_WORKER, 10),
            f"10 of {_SMALL_BACKLOG:,}",
            lambda: small.find_available_tasks(_WORKER, 10),
            seconds=seconds * 0.2,
        )
