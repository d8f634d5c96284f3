"""Snapshots of a store. The time for a snapshot is limited even if the store is large, so that workers do not
slow down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from ...errors import NotFoundError
from ...front import Paged
from ...model import InstanceInfo, StoreStats, TaskClaim, TaskState
from ...sqlite.store import SqliteClaimStore
from ..instances import OPEN_STATES
from ..map.lines import is_map_task
from ..schedule import late_ticks

# Number of pages of claims that a snapshot reads. A page contains several hundred claims.
_CLAIM_PAGES = 2
_INSTANCES_MAX = 200
# Number of workers for which a snapshot reads the line of the oldest claim.
_LINES_MAX = 20
# Longest time in seconds for reading instances: for the first snapshot, and for each later snapshot.
_FIRST_READ_S, _NEXT_READ_S = 0.5, 0.005
# The search for instances that are not known yet takes at most this fraction of the time.
_SEARCH_SHARE = 0.02


@dataclass(slots=True)
class WorkerRow:
    """One worker id, with the processes of its live sessions and the number of its claims that were read.

    ``line``: the input of the oldest claim's task, if ``map`` has made the task.
    """

    worker_id: str
    pids: list[int]
    claims: int = 0
    oldest: TaskClaim | None = None
    line: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a store at one time.

    ``at``: time of the snapshot, on the clock ``time.monotonic``. ``has_all_claims``: True if all claims were read.
    ``warnings``: sentences about checkpoints that fail or cannot finish, and about late ticks.
    """

    at: float
    stats: StoreStats
    instances: list[InstanceInfo]
    workers: list[WorkerRow]
    has_all_claims: bool
    warnings: list[str]

    @property
    def expired_claims(self) -> int:
        """Number of claims that have expired, but that no sweep and no worker has ended yet."""
        return self.stats.counts[TaskState.CLAIMED] - self.stats.live_claims

    def rate_since(self, earlier: Snapshot | None, state: TaskState) -> float | None:
        """Return the number of tasks per second that reached this state since the earlier snapshot.

        ``None`` if the number is unknown, for example after a prune.
        """
        if earlier is None or self.at <= earlier.at:
            return None
        difference = self.stats.counts[state] - earlier.stats.counts[state]
        return difference / (self.at - earlier.at) if difference >= 0 else None


class Sampler:
    """A sampler takes snapshots of one store. The store may be open for reading only."""

    def __init__(self, store: SqliteClaimStore) -> None:
        self._store = store
        self._instances: dict[str, InstanceInfo] = {}  # the instance that was read last is at the end
        self._pages: Iterator[list[InstanceInfo]] | None = None
        self._read_time_s = _FIRST_READ_S
        self._next_search = 0.0

    def take(self) -> Snapshot:
        """Take a snapshot."""
        stats = self._store.stats()
        workers, has_all_claims = self._read_workers()
        self._read_instances({row.oldest.instance_id for row in workers if row.oldest is not None})
        busy_first = sorted(self._instances.values(), key=lambda instance: instance.counts[TaskState.CLAIMED] == 0)
        return Snapshot(
            at=time.monotonic(),
            stats=stats,
            instances=busy_first,
            workers=workers,
            has_all_claims=has_all_claims,
            warnings=[*self._store._db.checkpoint_findings(), *late_ticks(self._store.list_schedules())],
        )

    def _read_workers(self) -> tuple[list[WorkerRow], bool]:
        """Return the workers, and whether all claims were read."""
        rows: dict[str, WorkerRow] = {}
        for worker in self._store.list_workers():
            if worker.alive:
                row = rows.setdefault(worker.worker_id, WorkerRow(worker.worker_id, []))
                row.pids = sorted({*row.pids, worker.pid})
        claims = self._store.list_claims()
        assert isinstance(claims, Paged)
        for page in islice(claims.pages, _CLAIM_PAGES):
            for claim in page:
                row = rows.setdefault(claim.worker_id, WorkerRow(claim.worker_id, []))
                row.claims += 1
                if row.oldest is None or claim.claimed_at < row.oldest.claimed_at:
                    row.oldest = claim
        has_all_claims = not next(claims.pages, None)
        self._read_lines(list(rows.values()))
        return list(rows.values()), has_all_claims

    def _read_lines(self, rows: list[WorkerRow]) -> None:
        """Read the lines of the oldest claims, because the names of these tasks say nothing to people."""
        claims = [(row, row.oldest) for row in rows if row.oldest is not None and is_map_task(row.oldest.task_id)]
        for row, oldest in claims[:_LINES_MAX]:
            with suppress(NotFoundError):
                row.line = self._store.get_task(oldest.instance_id, oldest.task_id).input

    def _read_instances(self, busy: set[str]) -> None:
        """First read instances that have claims and are not known yet, then read the known instances again, then search
        for more instances.

        If the store contains many ended instances, all open instances are known only after several snapshots.
        """
        began = time.monotonic()
        deadline, self._read_time_s = began + self._read_time_s, _NEXT_READ_S
        for name in [*(busy - self._instances.keys()), *self._instances]:
            if time.monotonic() >= deadline:
                return
            self._instances.pop(name, None)
            with suppress(NotFoundError):
                self._add(self._store.get_instance(name))  # _add moves the instance to the end of the dictionary
        if began >= self._next_search:
            self._search_instances(deadline)
            self._next_search = time.monotonic() + (time.monotonic() - began) / _SEARCH_SHARE

    def _search_instances(self, deadline: float) -> None:
        if self._pages is None:
            instances = self._store.list_instances(states=OPEN_STATES)
            assert isinstance(instances, Paged)
            self._pages = instances.pages
        for page in self._pages:
            for instance in page:
                self._add(instance)
            if time.monotonic() >= deadline:
                return
        self._pages = None

    def _add(self, instance: InstanceInfo) -> None:
        if instance.state in OPEN_STATES and len(self._instances) < _INSTANCES_MAX:
            self._instances.setdefault(instance.instance_id, instance)
