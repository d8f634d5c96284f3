"""Stores for the benchmarks.

Each store is created once and then reused, because adding a million tasks takes about ten seconds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import count as counting
from pathlib import Path

import apsw

from sqlite_claims import NewTask, SqliteClaimStore
from sqlite_claims.clock import SYSTEM_CLOCK, Clock
from sqlite_claims.sqlite.files.copies import split

# The largest number of tasks that one call accepts.
CHUNK = 100_000
_HOUR = 3600.0
WORKER = "worker"
PAYLOAD = bytes(64)


def fill(store: SqliteClaimStore, instance_id: str, count: int, make: Callable[[str], NewTask] = NewTask) -> None:
    """Add an instance with ``count`` tasks."""
    store.add_instance(instance_id)
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        store.add_tasks(instance_id, [make(f"task-{number:07}") for number in numbers])


class Stores:
    """The stores in one folder. Each method returns the path of a store with the described content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = counting()

    def backlog(self, count: int) -> Path:
        """Return a store with ``count`` ready tasks in one lane."""
        return self.made(f"backlog-{count}", lambda store: fill(store, "ready", count, for_tag("cpu")))

    def behind_ineligible(self, count: int, ineligible: int) -> Path:
        """Return a store with ``count`` ready tasks behind tasks of higher priority that the worker may not claim.

        The worker has the tag ``cpu`` and the kind ``""``. Half of the tasks of higher priority have a different tag,
        and half have a different kind.
        """

        def make(store: SqliteClaimStore) -> None:
            fill(store, "tagged", ineligible // 2, for_tag("gpu", priority=1))
            fill(store, "of another kind", ineligible - ineligible // 2, _gpu_kind)
            fill(store, "ready", count, for_tag("cpu"))

        return self.made(f"behind-ineligible-{count}-{ineligible}", make)

    def behind_not_yet(self, count: int, not_yet: int) -> Path:
        """Return a store with ``count`` ready tasks behind ``not_yet`` delayed and ``not_yet`` claimed tasks."""

        def make(store: SqliteClaimStore) -> None:
            fill(store, "held", not_yet, for_tag("cpu", priority=1))
            store.claim_available_tasks("holder", not_yet, _HOUR * 24)
            fill(store, "delayed", not_yet, _delayed)
            fill(store, "ready", count, for_tag("cpu"))

        return self.made(f"behind-not-yet-{count}-{not_yet}", make)

    def lanes(self, count: int, lanes: int, aging: bool = False) -> Path:
        """Return a store with ``count`` ready tasks, spread evenly over ``lanes`` kinds and all five priorities."""

        def make(store: SqliteClaimStore) -> None:
            numbers = counting()

            def task(task_id: str) -> NewTask:
                number = next(numbers)
                return NewTask(task_id, kind=f"kind-{number % lanes}", priority=number // lanes % 5 + 1)

            fill(store, "ready", count, task)
            if aging:
                store.set_aging_interval(_HOUR)

        return self.made(f"lanes-{count}-{lanes}{'-aging' * aging}", make)

    def limited(self, count: int, full: int) -> Path:
        """Return a store with ``count`` ready tasks in a partition with free slots, and ``full`` full partitions.

        Each full partition has one claimed task and ten ready tasks of higher priority.
        """

        def make(store: SqliteClaimStore) -> None:
            store.set_limit("full", concurrency=1)
            store.set_limit("open", concurrency=10)
            numbers = counting()

            def task(task_id: str) -> NewTask:
                return NewTask(task_id, priority=1, limit=f"full:{next(numbers) % full}")

            if full:
                fill(store, "full", 11 * full, task)
                while store.claim_available_tasks(WORKER, 1000, None):
                    pass
            fill(store, "ready", count, lambda task_id: NewTask(task_id, limit="open"))

        return self.made(f"limited-{count}-{full}", make)

    def fresh(self, count: int, payload: bytes | None = None) -> Path:
        """Return a new store with ``count`` ready tasks, for one benchmark only."""
        return self.made(
            f"fresh-{next(self._names)}",
            lambda store: fill(store, "ready", count, lambda task_id: NewTask(task_id, payload)),
        )

    def copied(self, count: int, payload: bytes | None = None) -> Path:
        """Return a synced copy of a store with ``count`` ready tasks. The original store is created only once."""
        made = self.made(
            f"original-{count}-{len(payload or b'')}",
            lambda store: fill(store, "ready", count, lambda task_id: NewTask(task_id, payload)),
        )
        copy = self.copy_of(made)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        return copy

    def copy_of(self, path: Path) -> Path:
        """Return a copy of a store.

        The copy doesn't contain the identity of the original file. Otherwise a store would detect that the file was
        copied, and end all claims.
        """
        copy = shutil.copyfile(path, self.new_path())
        connection = apsw.Connection(str(copy))
        [[recorded]] = connection.execute("SELECT boot_id FROM claims_meta").fetchall()
        connection.execute("UPDATE claims_meta SET boot_id = ?", (split(str(recorded))[0],))
        connection.close()
        return copy

    def new_path(self) -> Path:
        """Return a path at which there is no file yet."""
        return self.folder / f"new-{next(self._names)}.db"

    def made(self, name: str, make: Callable[[SqliteClaimStore], None], clock: Clock = SYSTEM_CLOCK) -> Path:
        """Return the path of the store with this name. Create the store if it doesn't exist."""
        path = self.folder / f"{name}.db"
        if not path.exists():
            with SqliteClaimStore(path, durability="process", clock=clock) as store:
                make(store)
        return path


def opened(path: Path, use_c_core: bool | None = None) -> SqliteClaimStore:
    """Open a store as a worker does, with commits that don't wait for the disk."""
    return SqliteClaimStore(path, durability="process", use_c_core=use_c_core)


def for_tag(tag: str, priority: int = 3, max_lost: int = 5) -> Callable[[str], NewTask]:
    """Return a function that makes tasks for workers with this tag."""
    return lambda task_id: NewTask(task_id, tags=[tag], priority=priority, max_lost=max_lost)


def _gpu_kind(task_id: str) -> NewTask:
    return NewTask(task_id, kind="gpu", priority=1)


def _delayed(task_id: str) -> NewTask:
    return NewTask(task_id, tags=["cpu"], priority=1, delay=_HOUR * 24)
