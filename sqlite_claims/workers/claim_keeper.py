"""Renews the claims of a worker while their handlers run, and detects lost claims."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..interface import WorkerStore
from ..model import TaskClaim
from . import task_log
from .attempts import claim_key
from .context import TaskContext
from .options import WorkerOptions
from .result_writer import TRANSIENT, ResultWriter
from .slot import Slot
from .task_log import log

# The longest time between a failed renewal and the next attempt to renew the claims.
_RETRY_S_MAX = 1.0


class _RunningTask(NamedTuple):
    task: TaskContext
    started_at: float


class ClaimKeeper:
    """Renews all claims of the worker in one transaction, and checks the claims of long-running tasks.

    With the check, the worker detects that an instance was cancelled, or that another worker has taken a task over.
    Without the check, the worker would detect a lost claim only at the next renewal, which may be much later.
    """

    def __init__(
        self, store: WorkerStore, options: WorkerOptions, results: ResultWriter, slots: Sequence[Slot]
    ) -> None:
        self._store = store
        self._options = options
        self._results = results
        self._slots = slots
        self._renew_at = math.inf
        self._checked_at = -math.inf

    def keep(self, now: float) -> float:
        """Renew and check the claims if a renewal or a check is due. Return the time of the next renewal or check."""
        claims = [claim for slot in self._slots for claim in slot.claims()]
        if not claims:
            self._renew_at = math.inf
            return math.inf
        interval_s = self._options.heartbeat_interval
        if interval_s is not None:
            if self._renew_at == math.inf:
                self._renew_at = now + interval_s
            elif now >= self._renew_at:
                self._renew_at = now + (interval_s if self._renew(claims) else min(interval_s, _RETRY_S_MAX))
        running = self._running()
        if not running:
            return self._renew_at
        poll_s = self._options.poll_interval
        check_at = max(min(started_at for _, started_at in running), self._checked_at) + poll_s
        if now >= check_at:
            self._check(running)
            self._checked_at = now
            check_at = now + poll_s
        return min(check_at, self._renew_at)

    def _running(self) -> list[_RunningTask]:
        running = []
        for slot in self._slots:
            with slot.lock:
                if slot.current is not None and not slot.current._dropped:
                    running.append(_RunningTask(slot.current, slot.started_at))
        return running

    def _renew(self, claims: list[TaskClaim]) -> bool:
        try:
            renewed, lost = self._store.renew_task_claims(claims, self._options.claim_ttl)
        except TRANSIENT as error:
            log.warning("could not renew claims, will retry: %s", error)
            return False
        latest = {claim_key(claim): claim for claim in renewed}
        for task, _ in self._running():
            task.claim = latest.get(claim_key(task.claim), task.claim)
        self._drop_lost(claim for claim in lost if not self._results.is_completed_by_handler(claim))
        return True

    def _check(self, running: list[_RunningTask]) -> None:
        try:
            held = {claim_key(claim) for claim in self._store.list_claims(self._options.worker_id)}
            lost = [task.claim for task, _ in running if claim_key(task.claim) not in held]
            self._drop_lost(claim for claim in lost if not self._results.is_completed_by_handler(claim))
        except TRANSIENT as error:
            log.warning("could not check claims, will retry: %s", error)

    def _drop_lost(self, claims: Iterable[TaskClaim]) -> None:
        lost_keys = {claim_key(claim) for claim in claims}
        if not lost_keys:
            return
        for slot in self._slots:
            removed = slot.remove_waiting(lost_keys)
            self._results.count(lost=len(removed))
            for claimed in removed:
                task_log.lost(TaskContext(self._store, claimed), 0.0)
            task = slot.current
            if task is not None and claim_key(task.claim) in lost_keys and slot.drop(task):
                self._results.count(lost=1)
                task_log.lost(task, slot.dropped_at - slot.started_at)
