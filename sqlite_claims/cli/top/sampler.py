"""One look at a store, whose cost is bounded whatever the store holds: it may be taken every second, beside workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from ...errors import NotFoundError
from ...model import InstanceInfo, InstanceState, StoreStats, TaskClaim, TaskState
from ...store import Paged, SqliteClaimStore

# Pages of claims that are read a look, each of some hundreds.
_CLAIM_PAGES = 2
# Instances that are kept in view, and for how long a look may read them: the first, and those that follow.
_INSTANCES_MAX = 200
_FIRST_S, _NEXT_S = 0.5, 0.005
# To look for those that are not in view takes at most this share of the time.
_SHARE = 0.02
_OPEN = (InstanceState.IN_PROGRESS, InstanceState.PAUSED)


@dataclass(slots=True)
class WorkerRow:
    """One worker id: its sessions that live, and its claims as far as they were read."""

    worker_id: str
    pids: list[int]
    claims: int = 0
    oldest: TaskClaim | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One reading of the store. ``at``: by the steady clock. ``all_claims``: whether all claims were read.
    ``warnings``: on checkpoints that fail or fall behind."""

    at: float
    stats: StoreStats
    instances: list[InstanceInfo]
    workers: list[WorkerRow]
    all_claims: bool
    warnings: list[str]

    @property
    def expired(self) -> int:
        """Claims whose time is over and that nobody has taken over or settled yet."""
        return self.stats.counts[TaskState.CLAIMED] - self.stats.live_claims

    def rate_since(self, earlier: Look | None, state: TaskState) -> float | None:
        """Tasks that came to this state a second; ``None`` where nobody can tell, as after a prune."""
        if earlier is None or self.at <= earlier.at:
            return None
        more = self.stats.counts[state] - earlier.stats.counts[state]
        return more / (self.at - earlier.at) if more >= 0 else None


class Looker:
    """Takes looks at one store, which may be open for reading only."""

    def __init__(self, store: SqliteClaimStore) -> None:
        self._store = store
        self._known: dict[str, InstanceInfo] = {}
        self._pages: Iterator[list[InstanceInfo]] | None = None
        self._allowed = _FIRST_S
        self._rests_until = 0.0

    def look(self) -> Look:
        """Look now."""
        stats = self._store.stats()
        workers, all_claims = self._workers()
        self._read_instances({row.oldest.instance_id for row in workers if row.oldest is not None})
        busy_first = sorted(self._known.values(), key=lambda instance: instance.counts[TaskState.CLAIMED] == 0)
        warnings = self._store._db.checkpoint_findings()
        return Look(time.monotonic(), stats, busy_first, workers, all_claims, warnings)

    def _workers(self) -> tuple[list[WorkerRow], bool]:
        rows: dict[str, WorkerRow] = {}
        for worker in self._store.list_workers():
            if worker.alive:
                row = rows.setdefault(worker.worker_id, WorkerRow(worker.worker_id, []))
                row.pids = sorted({*row.pids, worker.pid})
        listed = self._store.list_claims()
        assert isinstance(listed, Paged)
        for page in islice(listed.pages, _CLAIM_PAGES):
            for claim in page:
                row = rows.setdefault(claim.worker_id, WorkerRow(claim.worker_id, []))
                row.claims += 1
                if row.oldest is None or claim.claimed_at < row.oldest.claimed_at:
                    row.oldest = claim
        return list(rows.values()), not next(listed.pages, None)

    def _read_instances(self, worked_on: set[str]) -> None:
        """Those that are new and worked on, then those in view once more, then some of the others: where many have
        ended it takes several looks until all that are open have come into view."""
        now = time.monotonic()
        until, self._allowed = now + self._allowed, _NEXT_S
        for name in [*(worked_on - self._known.keys()), *self._known]:
            if time.monotonic() >= until:
                return
            self._known.pop(name, None)
            with suppress(NotFoundError):
                self._keep(self._store.get_instance(name))  # behind those that were read longer ago
        if now >= self._rests_until:
            self._find_instances(until)
            self._rests_until = time.monotonic() + (time.monotonic() - now) / _SHARE

    def _find_instances(self, until: float) -> None:
        if self._pages is None:
            listed = self._store.list_instances(states=_OPEN)
            assert isinstance(listed, Paged)
            self._pages = listed.pages
        for page in self._pages:
            for instance in page:
                self._keep(instance)
            if time.monotonic() >= until:
                return
        self._pages = None

    def _keep(self, instance: InstanceInfo) -> None:
        if instance.state in _OPEN and len(self._known) < _INSTANCES_MAX:
            self._known.setdefault(instance.instance_id, instance)
