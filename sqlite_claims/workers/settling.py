"""Puts what came of attempts into the store, and counts it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ParamSpec, Protocol, TypeVar

from ..errors import (
    BackendError,
    ClaimLostError,
    InvalidArgumentError,
    NotFoundError,
    StoreBusyError,
    StoreFullError,
)
from ..interface import TaskClaimStore
from ..model import TaskClaim, TaskState
from . import task_log
from .context import TaskContext
from .execute import Failure, Result, Snooze
from .lane import key
from .task_log import log

P = ParamSpec("P")
T = TypeVar("T")

# What passes by itself. Anything else ends the run.
TRANSIENT = (StoreBusyError, StoreFullError)
_PAUSE_S_MAX = 1.0


class Board(Protocol):
    """Where a run in a pool's process shows what it does."""

    def task_started(self, lane: int, task: TaskContext) -> None: ...
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

    def settle(self, results: list[tuple[TaskContext, Result]]) -> None:
        """Store these, each kind in one transaction."""
        completed: list[tuple[TaskContext, bytes]] = []
        failed: list[tuple[TaskContext, Failure]] = []
        given_back: list[TaskContext] = []
        for task, result in results:
            if isinstance(result, bytes):
                completed.append((task, result))
            elif isinstance(result, Snooze):
                self._persist(self._snooze, task, result.delay)
            elif not isinstance(result, Failure):
                given_back.append(task)
            elif result.retry:
                failed.append((task, result))
            else:
                self._persist(self._fail_for_good, task, result)
        if completed:
            self._complete(completed)
        if failed:
            self._fail(failed)
        self.release([task.claim for task in given_back])
        for task in given_back:
            task_log.given_back(task, task._seconds)

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

    def _complete(self, results: list[tuple[TaskContext, bytes]]) -> None:
        try:
            settled = self._persist(self._store.complete_tasks, [(task.claim, output) for task, output in results])
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
            own = [claim for claim in lost if self.is_done_by_handler(claim)] if lost else []
            self.count(completed=len(done) + len(own), lost=len(lost) - len(own))
            if task_log.wants_all():
                for task in _of([*done, *own], results):
                    task_log.completed(task, task._seconds)
            self._tell_lost([claim for claim in lost if claim not in own], results)

    def _fail(self, failures: list[tuple[TaskContext, Failure]]) -> None:
        settled = self._persist(self._store.fail_tasks, [(task.claim, failure.error) for task, failure in failures])
        if settled is not None:
            done, lost = settled
            self.count(failed=len(done), lost=len(lost))
            stored = {key(claim) for claim in done}
            for task, failure in failures:
                if key(task.claim) in stored:
                    self._tell_failed(task, failure)
            self._tell_lost(lost, failures)

    def _tell_failed(self, task: TaskContext, failure: Failure) -> None:
        info = None
        if failure.retry and task_log.tasks.isEnabledFor(logging.ERROR):
            with suppress(BackendError):  # it is stored; that is all that matters
                info = self._store.get_task(task.instance_id, task.task_id)
        task_log.failed(task, task._seconds, failure, info)

    def _tell_lost(self, lost: list[TaskClaim], results: Sequence[tuple[TaskContext, Any]]) -> None:
        for task in _of(lost, results) if lost else ():
            task_log.lost(task, task._seconds)

    def is_done_by_handler(self, claim: TaskClaim) -> bool:
        """Whether the claim is gone because the handler completed the task itself, in a transaction of its own."""
        try:
            info = self._store.get_task(claim.instance_id, claim.task_id)
        except NotFoundError:
            return False
        return info.state is TaskState.COMPLETED and info.worker_id == claim.worker_id

    def _fail_for_good(self, task: TaskContext, failure: Failure) -> None:
        try:
            self._store.fail_task(task.claim, failure.error, retry=False)
        except ClaimLostError:
            self.count(lost=1)
            task_log.lost(task, task._seconds)
        else:
            self.count(failed=1)
            self._tell_failed(task, failure)

    def _snooze(self, task: TaskContext, delay: float) -> None:
        try:
            self._store.release_task(task.claim, delay=delay)
        except ClaimLostError:
            self.count(lost=1)
            task_log.lost(task, task._seconds)
        else:
            task_log.given_back(task, task._seconds, delay)

    def _persist(self, operation: Callable[P, T], *args: P.args, **options: P.kwargs) -> T | None:
        pause = 0.05
        while True:
            try:
                return operation(*args, **options)
            except TRANSIENT as error:
                if self._gives_up():
                    log.error("claims are left to expire, since the store would not take what came of them: %s", error)
                    return None
                log.warning("storing results failed, trying again: %s", error)
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE_S_MAX)


def _of(claims: list[TaskClaim], results: Sequence[tuple[TaskContext, Any]]) -> list[TaskContext]:
    """The tasks of these claims."""
    wanted = {key(claim) for claim in claims}
    return [task for task, _ in results if key(task.claim) in wanted]
