"""Puts what came of attempts into the store, and counts it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from ..errors import ClaimLostError, InvalidArgumentError, NotFoundError, StoreBusyError, StoreFullError
from ..interface import TaskClaimStore
from ..model import TaskClaim, TaskState
from .execute import Failure, Result, Snooze

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("sqlite_claims.workers")

# What passes by itself. Anything else ends the run.
TRANSIENT = (StoreBusyError, StoreFullError)
_PAUSE_S_MAX = 1.0


class Board(Protocol):
    """Where a run in a pool's process shows what it does."""

    def task_started(self, lane: int, claim: TaskClaim) -> None: ...
    def task_ended(self, lane: int) -> None: ...
    def count(self, completed: int, failed: int, lost: int) -> None: ...


class Settler:
    """Safe to share between threads. A result is offered to a store that is busy or full until it takes it, or until
    ``gives_up`` says that there is no more time."""

    def __init__(self, store: TaskClaimStore, gives_up: Callable[[], bool], board: Board | None = None) -> None:
        self._store = store
        self._gives_up = gives_up
        self._board = board
        self._lock = threading.Lock()
        self.completed = self.failed = self.lost = 0

    def settle(self, results: list[tuple[TaskClaim, Result]]) -> None:
        """Store these, each kind in one transaction."""
        completed: list[tuple[TaskClaim, bytes]] = []
        failed: list[tuple[TaskClaim, str]] = []
        given_back: list[TaskClaim] = []
        for claim, result in results:
            if isinstance(result, bytes):
                completed.append((claim, result))
            elif isinstance(result, Snooze):
                self._persist(self._snooze, claim, result.delay)
            elif not isinstance(result, Failure):
                given_back.append(claim)
            elif result.retry:
                failed.append((claim, result.error))
            else:
                self._persist(self._fail_for_good, claim, result.error)
        if completed:
            self._complete(completed)
        if failed and (settled := self._persist(self._store.fail_tasks, failed)) is not None:
            self.count(failed=len(settled[0]), lost=len(settled[1]))
        self.release(given_back)

    def release(self, claims: list[TaskClaim]) -> None:
        """Give these back."""
        if claims:
            self._persist(self._store.release_tasks, claims)

    def count(self, completed: int = 0, failed: int = 0, lost: int = 0) -> None:
        """Add to the totals."""
        with self._lock:
            self.completed += completed
            self.failed += failed
            self.lost += lost
            if self._board is not None:
                self._board.count(self.completed, self.failed, self.lost)

    def _complete(self, results: list[tuple[TaskClaim, bytes]]) -> None:
        try:
            settled = self._persist(self._store.complete_tasks, results)
        except InvalidArgumentError as error:
            # One of the outputs is larger than the store takes: the others must not suffer for it.
            if len(results) == 1:
                self.settle([(results[0][0], Failure(f"the result can't be stored: {error}"))])
                return
            for result in results:
                self._complete([result])
            return
        if settled is not None:
            done, lost = settled
            own = sum(self.is_done_by_handler(claim) for claim in lost)
            self.count(completed=len(done) + own, lost=len(lost) - own)

    def is_done_by_handler(self, claim: TaskClaim) -> bool:
        """Whether the claim is gone because the handler completed the task itself, in a transaction of its own."""
        try:
            info = self._store.get_task(claim.instance_id, claim.task_id)
        except NotFoundError:
            return False
        return info.state is TaskState.COMPLETED and info.worker_id == claim.worker_id

    def _fail_for_good(self, claim: TaskClaim, error: str) -> None:
        try:
            self._store.fail_task(claim, error, retry=False)
        except ClaimLostError:
            self.count(lost=1)
        else:
            self.count(failed=1)

    def _snooze(self, claim: TaskClaim, delay: float) -> None:
        try:
            self._store.release_task(claim, delay=delay)
        except ClaimLostError:
            self.count(lost=1)

    def _persist(self, operation: Callable[P, T], *args: P.args, **options: P.kwargs) -> T | None:
        pause = 0.05
        while True:
            try:
                return operation(*args, **options)
            except TRANSIENT as error:
                if self._gives_up():
                    log.error("claims are left to expire, since the store would not take what came of them: %s", error)  # noqa: TRY400
                    return None
                log.warning("storing results failed, trying again: %s", error)
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE_S_MAX)
