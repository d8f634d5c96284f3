"""Puts what came of attempts into the store, and counts it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, Protocol, TypeVar

from ..errors import BackendError, ClaimLostError, InvalidArgumentError, NotFoundError, StoreBusyError, StoreFullError
from ..interface import TaskClaimStore
from ..model import ClaimedTask, TaskClaim, TaskState
from . import task_log
from .context import TaskContext
from .execute import Ended, Failure, Snooze
from .slot import key
from .task_log import log

P = ParamSpec("P")
T = TypeVar("T")

# What passes by itself. Anything else ends the run.
TRANSIENT = (StoreBusyError, StoreFullError)
_PAUSE_S_MAX = 1.0


class Scoreboard(Protocol):
    """Where a run in a pool's process shows what it does."""

    def task_started(self, lane: int, task: TaskContext) -> None: ...
    def task_ended(self, lane: int) -> None: ...
    def count(self, completed: int, failed: int, lost: int) -> None: ...


class ResultWriter:
    """Safe to share between threads. A result is offered to a store that is busy or full until it takes it, or until
    ``gives_up`` says that there is no more time."""

    def __init__(
        self, store: TaskClaimStore, gives_up: Callable[[], bool], scoreboard: Scoreboard | None = None
    ) -> None:
        self._store = store
        self._gives_up = gives_up
        self._scoreboard = scoreboard
        self._lock = threading.Lock()
        self.completed = self.failed = self.lost = 0

    def settle(self, outcomes: list[Ended]) -> None:
        """Store these, each kind in one transaction."""
        completed: list[tuple[TaskClaim, bytes]] = []
        failed: list[Ended] = []
        given_back: list[Ended] = []
        for outcome in outcomes:
            result = outcome[1]
            if isinstance(result, bytes):
                completed.append((outcome[0].claim, result))
            elif isinstance(result, Snooze):
                self._persist(self._snooze, outcome, result.delay)
            elif not isinstance(result, Failure):
                given_back.append(outcome)
            elif result.retry:
                failed.append(outcome)
            else:
                self._persist(self._fail_for_good, outcome, result)
        if completed:
            self._complete(completed, outcomes)
        if failed:
            self._fail(failed)
        self.release([claimed.claim for claimed, _, _ in given_back])
        for claimed, _, seconds in given_back if task_log.wants_all() else ():
            task_log.given_back(self._attempt(claimed), seconds)

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
            if self._scoreboard is not None:
                self._scoreboard.count(self.completed, self.failed, self.lost)

    def _complete(self, results: list[tuple[TaskClaim, bytes]], outcomes: list[Ended]) -> None:
        try:
            settled = self._persist(self._store.complete_tasks, results)
        except InvalidArgumentError as error:
            # One of the outputs is larger than the store takes: the others must not suffer for it.
            if len(results) == 1:
                ((claimed, _, seconds),) = _of([results[0][0]], outcomes)
                self.settle([(claimed, Failure(f"the result can't be stored: {error}"), seconds)])
                return
            for result in results:
                self._complete([result], outcomes)
            return
        if settled is not None:
            done, lost = settled
            own = [claim for claim in lost if self.is_done_by_handler(claim)] if lost else []
            self.count(completed=len(done) + len(own), lost=len(lost) - len(own))
            if task_log.wants_all():
                for claimed, _, seconds in _of([*done, *own], outcomes):
                    task_log.completed(self._attempt(claimed), seconds)
            self._tell_lost([claim for claim in lost if claim not in own], outcomes)

    def _fail(self, outcomes: list[Ended]) -> None:
        failures: list[Any] = [(claimed.claim, failure.error) for claimed, failure, _ in outcomes]  # type: ignore[union-attr]
        settled = self._persist(self._store.fail_tasks, failures)
        if settled is not None:
            done, lost = settled
            self.count(failed=len(done), lost=len(lost))
            for outcome in _of(done, outcomes):
                self._tell_failed(outcome)
            self._tell_lost(lost, outcomes)

    def _tell_failed(self, outcome: Ended) -> None:
        claimed, failure, seconds = outcome
        if not task_log.tasks.isEnabledFor(logging.ERROR) or not isinstance(failure, Failure):
            return
        info = None
        if failure.retry:
            with suppress(BackendError):  # it is stored; that is all that matters
                info = self._store.get_task(claimed.claim.instance_id, claimed.claim.task_id)
        task_log.failed(self._attempt(claimed), seconds, failure, info)

    def _tell_lost(self, lost: list[TaskClaim], outcomes: list[Ended]) -> None:
        for claimed, _, seconds in _of(lost, outcomes) if lost else ():
            task_log.lost(self._attempt(claimed), seconds)

    def _attempt(self, claimed: ClaimedTask) -> TaskContext:
        """The attempt's description for log records. Made only when a record is logged, to save its cost otherwise."""
        return TaskContext(self._store, claimed)

    def is_done_by_handler(self, claim: TaskClaim) -> bool:
        """Whether the claim is gone because the handler completed the task itself, in a transaction of its own."""
        try:
            info = self._store.get_task(claim.instance_id, claim.task_id)
        except NotFoundError:
            return False
        return info.state is TaskState.COMPLETED and info.worker_id == claim.worker_id

    def _fail_for_good(self, outcome: Ended, failure: Failure) -> None:
        try:
            self._store.fail_task(outcome[0].claim, failure.error, retry=False)
        except ClaimLostError:
            self.count(lost=1)
            self._tell_lost([outcome[0].claim], [outcome])
        else:
            self.count(failed=1)
            self._tell_failed(outcome)

    def _snooze(self, outcome: Ended, delay: float) -> None:
        claimed, _, seconds = outcome
        try:
            self._store.release_task(claimed.claim, delay=delay)
        except ClaimLostError:
            self.count(lost=1)
            self._tell_lost([claimed.claim], [outcome])
        else:
            task_log.given_back(self._attempt(claimed), seconds, delay)

    def _persist(self, operation: Callable[P, T], *args: P.args, **options: P.kwargs) -> T | None:
        pause = 0.05
        while True:
            try:
                return operation(*args, **options)
            except TRANSIENT as error:
                if self._gives_up():
                    log.error("results could not be stored, and their claims will expire: %s", error)
                    return None
                log.warning("storing results failed, trying again: %s", error)
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE_S_MAX)


def _of(claims: list[TaskClaim], outcomes: list[Ended]) -> list[Ended]:
    """The outcomes of these claims."""
    wanted = {key(claim) for claim in claims}
    return [outcome for outcome in outcomes if key(outcome[0].claim) in wanted]
