"""Stores the results of attempts, and counts the attempts that completed, failed or were lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from ..errors import BackendError, ClaimLostError, InvalidArgumentError, NotFoundError, StoreBusyError, StoreFullError
from ..interface import TaskClaimStore
from ..model import ClaimedTask, TaskClaim, TaskState
from . import task_log
from .attempts import EndedAttempt, claim_key
from .context import TaskContext
from .execute import Failure, Snooze
from .scoreboard import Scoreboard
from .task_log import log

P = ParamSpec("P")
T = TypeVar("T")

# Temporary errors. After such an error, the operation is tried again. Any other error of the store ends the worker's
# run.
TRANSIENT = (StoreBusyError, StoreFullError)
_RETRY_S = 0.05
_RETRY_S_MAX = 1.0


class ResultWriter:
    """Settles claims with the results of their attempts. Several threads may share a writer.

    While the store is busy or full, the writer repeats the operation until ``gives_up`` returns ``True``.
    """

    def __init__(
        self, store: TaskClaimStore, *, gives_up: Callable[[], bool], scoreboard: Scoreboard | None = None
    ) -> None:
        self._store = store
        self._gives_up = gives_up
        self._scoreboard = scoreboard
        self._lock = threading.Lock()
        self.completed = self.failed = self.lost = 0

    def settle(self, attempts: list[EndedAttempt]) -> None:
        """Store the results of attempts. All completions are stored in one transaction, and all failures in a second
        transaction."""
        completed: list[tuple[TaskClaim, bytes]] = []
        failed: list[tuple[EndedAttempt, Failure]] = []
        released: list[EndedAttempt] = []
        for attempt in attempts:
            result = attempt.result
            if isinstance(result, bytes):
                completed.append((attempt.claimed.claim, result))
            elif isinstance(result, Snooze):
                self._persist(self._snooze, attempt, result.delay_s)
            elif isinstance(result, Failure):
                failed.append((attempt, result))
            else:
                released.append(attempt)
        if completed:
            self._complete(completed, attempts)
        if failed:
            self._fail(failed)
        self.release([attempt.claimed.claim for attempt in released])
        if released and task_log.wants_all():
            for attempt in released:
                task_log.released(self._context(attempt.claimed), attempt.seconds)

    def release(self, claims: list[TaskClaim]) -> None:
        """Release these claims. The attempts do not count."""
        if claims:
            self._persist(self._store.release_tasks, claims)

    def count(self, *, completed: int = 0, failed: int = 0, lost: int = 0) -> None:
        """Add to the totals of completed, failed and lost attempts."""
        with self._lock:
            self.completed += completed
            self.failed += failed
            self.lost += lost
            if self._scoreboard is not None:
                self._scoreboard.set_totals(completed=self.completed, failed=self.failed, lost=self.lost)

    def is_completed_by_handler(self, claim: TaskClaim) -> bool:
        """Return whether the claim has ended because the handler itself has completed the task in a transaction of its
        own code."""
        try:
            info = self._store.get_task(claim.instance_id, claim.task_id)
        except NotFoundError:
            return False
        return info.state is TaskState.COMPLETED and info.worker_id == claim.worker_id

    def _complete(self, results: list[tuple[TaskClaim, bytes]], attempts: list[EndedAttempt]) -> None:
        try:
            settled = self._persist(self._store.complete_tasks, results)
        except InvalidArgumentError as error:
            # At least one of the outputs is too large for the store. Store each output separately, so that all outputs
            # of a valid size are stored.
            if len(results) > 1:
                for result in results:
                    self._complete([result], attempts)
                return
            failure = Failure(f"the result cannot be stored: {error}")
            for attempt in _attempts_of([results[0][0]], attempts):
                self.settle([attempt._replace(result=failure)])
            return
        if settled is None:
            return
        done, lost = settled
        by_handler = [claim for claim in lost if self.is_completed_by_handler(claim)] if lost else []
        self.count(completed=len(done) + len(by_handler), lost=len(lost) - len(by_handler))
        if task_log.wants_all():
            for attempt in _attempts_of([*done, *by_handler], attempts):
                task_log.completed(self._context(attempt.claimed), attempt.seconds)
        self._log_lost([claim for claim in lost if claim not in by_handler], attempts)

    def _fail(self, failed: list[tuple[EndedAttempt, Failure]]) -> None:
        settled = self._persist(
            self._store.fail_tasks,
            [(attempt.claimed.claim, failure.error, failure.options()) for attempt, failure in failed],
        )
        if settled is None:
            return
        done, lost = settled
        self.count(failed=len(done), lost=len(lost))
        done_keys = {claim_key(claim) for claim in done}
        for attempt, failure in failed:
            if claim_key(attempt.claimed.claim) in done_keys:
                self._log_failed(attempt, failure)
        self._log_lost(lost, [attempt for attempt, _ in failed])

    def _snooze(self, attempt: EndedAttempt, delay_s: float) -> None:
        try:
            self._store.release_task(attempt.claimed.claim, delay=delay_s)
        except ClaimLostError:
            self.count(lost=1)
            self._log_lost([attempt.claimed.claim], [attempt])
        else:
            task_log.released(self._context(attempt.claimed), attempt.seconds, delay_s)

    def _log_failed(self, attempt: EndedAttempt, failure: Failure) -> None:
        if not task_log.tasks.isEnabledFor(logging.ERROR):
            return
        info = None
        if failure.retry:
            with suppress(BackendError):  # the failure is stored, so only the log message lacks the task's new state
                info = self._store.get_task(attempt.claimed.claim.instance_id, attempt.claimed.claim.task_id)
        task_log.failed(self._context(attempt.claimed), attempt.seconds, failure, info)

    def _log_lost(self, lost: list[TaskClaim], attempts: list[EndedAttempt]) -> None:
        if lost:
            for attempt in _attempts_of(lost, attempts):
                task_log.lost(self._context(attempt.claimed), attempt.seconds)

    def _context(self, claimed: ClaimedTask) -> TaskContext:
        # The context is created a second time for a log record, because storing the context of each task would cost
        # more.
        return TaskContext(self._store, claimed)

    def _persist(self, operation: Callable[P, T], *args: P.args, **options: P.kwargs) -> T | None:
        """Call the operation until the store is neither busy nor full. Return its result, or ``None`` if ``gives_up``
        ended the retries."""
        retry_s = _RETRY_S
        while True:
            try:
                return operation(*args, **options)
            except TRANSIENT as error:
                if self._gives_up():
                    log.error("results not stored, claims will expire: %s", error)
                    return None
                log.warning("could not store results, will retry: %s", error)
            time.sleep(retry_s)
            retry_s = min(2 * retry_s, _RETRY_S_MAX)


def _attempts_of(claims: Iterable[TaskClaim], attempts: list[EndedAttempt]) -> list[EndedAttempt]:
    """Return the attempts whose claim is in ``claims``."""
    keys = {claim_key(claim) for claim in claims}
    return [attempt for attempt in attempts if claim_key(attempt.claimed.claim) in keys]
