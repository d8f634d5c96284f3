"""The rules for claiming and settling tasks."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from ...backend import Failure, ProgressReport
from ...errors import ClaimLostError, NotFoundError
from ...model import AttemptInfo, Progress, TaskClaim, TaskState
from ..records import Task
from .base import without_claim
from .limits import Limits
from .tasks import Tasks

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The number of attempts that are kept for each task.
_ATTEMPTS_MAX = 20


class Claims(Limits, Tasks):
    """The rules for claiming and settling tasks."""

    def claim(self, task: Task, worker_id: str, ttl_us: int | None, session: int | None) -> Task:
        """Claim a task for which ``can_be_claimed`` holds.

        If the task has an expired claim, this claim becomes a loss, and its expiry becomes the task's position.
        """
        took_over = task.state is TaskState.CLAIMED
        if took_over:
            task = self._with_attempt(task, "lost", "the claim expired")
        task = replace(
            task,
            state=TaskState.CLAIMED,
            place=task.expires if took_over else task.place,
            token=max(task.token, self.state.token_floor) + 1,
            attempts=task.attempts + 1,
            losses=task.losses + took_over,
            failed_on=None if took_over else task.failed_on,
            worker_id=worker_id,
            session=session,
            started_wall=self.wall,
            was_claimed=True,
        )
        return self.renew(task, ttl_us)

    def take_slots(self, chosen: list[Task]) -> None:
        """Take a slot for each of these tasks, which are claimed next. If too few slots are free, expired claims of
        other tasks become losses."""
        for other in self.expired_in_the_way(chosen):
            self._lose(other, "the claim expired", place=other.expires)
        for task in chosen:
            self.count_for_rate(task)

    def renew(self, task: Task, ttl_us: int | None) -> Task:
        expires = (None, None) if ttl_us is None else (self.now + ttl_us, self.wall + ttl_us)
        task = replace(task, expires=expires[0], expires_wall=expires[1])
        self.state.put(task)
        return task

    def extend(self, task: Task, by: int) -> None:
        if task.expires is not None and task.expires_wall is not None:
            self.state.put(replace(task, expires=task.expires + by, expires_wall=task.expires_wall + by))

    def release(self, task: Task, delay_us: int | None) -> None:
        self.state.put(
            without_claim(
                task,
                state=TaskState.READY,
                place=task.place if delay_us is None else self.now + delay_us,
                attempts=task.attempts - 1,
                worker_id=None,
                started_wall=task.started_wall if task.attempts > 1 else None,
            )
        )

    def report_progress(self, task: Task, report: ProgressReport) -> None:
        given = report[:3]
        if given != (None, None, None):
            before = task.progress
            stored = (None, None, None) if before is None else (before.done, before.total, before.note)
            done, total, note = (old if new is None else new for old, new in zip(stored, given, strict=True))
            now = _EPOCH + timedelta(microseconds=self.wall)
            task = replace(task, progress=Progress(done, total, note, now))  # type: ignore[arg-type]
        if report.checkpoint is not None:
            task = replace(task, checkpoint=report.checkpoint)
        self.state.put(task)

    def complete(self, task: Task, output: bytes) -> None:
        state = self.state
        task = replace(task, checkpoint=None)
        state.put(
            without_claim(
                task, state=TaskState.COMPLETED, output=output, error=None, finished_wall=self.wall, ended=self.now
            )
        )
        for name in state.dependents.get(task.key, ()):
            dependent = state.tasks[task.instance_id, name]
            if dependent.state is TaskState.BLOCKED and self._is_met(dependent):
                state.put(self._unblocked(dependent))
        self._end_if_done(task.instance_id)

    def fail(self, task: Task, failure: Failure) -> None:
        error, retry, retry_in_us, detail, timed_out = failure
        failures = task.failures + 1
        task = self._with_attempt(task, "timed out" if timed_out else "failed", error, detail)
        failed = without_claim(task, failures=failures, error=error, failed_on=task.worker_id)
        if not retry or failures >= task.spec.max_attempts:
            self._fail_for_good(failed)
            return
        if retry_in_us is None:
            retry_in_us = task.spec.retry.delay_us(failures, random.uniform(-1, 1))
        self.state.put(replace(failed, state=TaskState.READY, place=self.now + retry_in_us))

    def _with_attempt(
        self, task: Task, outcome: Literal["failed", "lost", "timed out"], error: str, detail: bytes = b""
    ) -> Task:
        """Return the task with a record of its current attempt, whose claim ends now."""
        started = _EPOCH + timedelta(microseconds=task.started_wall or 0)
        now = _EPOCH + timedelta(microseconds=self.wall)
        ended = AttemptInfo(task.attempts, task.worker_id or "", started, now, outcome, error, detail)
        return replace(task, ended_attempts=(*task.ended_attempts, ended)[-_ATTEMPTS_MAX:])

    def _lose(self, task: Task, cause: str, place: int | None = None) -> None:
        losses = task.losses + 1
        task = self._with_attempt(task, "lost", cause)
        lost = without_claim(task, losses=losses, failed_on=None)
        if losses >= task.spec.max_lost:
            self._fail_for_good(replace(lost, error=f"lost {losses} claims; max_lost is {task.spec.max_lost}"))
        else:
            self.state.put(replace(lost, state=TaskState.READY, place=self.now if place is None else place))

    def _fail_for_good(self, task: Task) -> None:
        self.state.put(replace(task, state=TaskState.FAILED, finished_wall=self.wall, ended=self.now))
        self._cancel_dependents(task)
        self._end_if_done(task.instance_id)

    def held_by_token(self, claim: TaskClaim) -> Task:
        task = self.state.tasks.get((claim.instance_id, claim.task_id))
        if task is None or task.state is not TaskState.CLAIMED or task.token != claim.token:
            raise ClaimLostError(
                f"Lost: the claim with token {claim.token} on task {claim.task_id!r} of instance {claim.instance_id!r}",
                instance_id=claim.instance_id,
                task_id=claim.task_id,
            )
        return task

    def held_by_name(self, instance_id: str, task_id: str, worker_id: str) -> Task:
        task = self.task(instance_id, task_id)
        if task.state is not TaskState.CLAIMED:
            raise NotFoundError(
                f"Nobody holds a claim on task {task_id!r} of instance {instance_id!r}",
                instance_id=instance_id,
                task_id=task_id,
            )
        if task.worker_id != worker_id:
            raise ClaimLostError(
                f"Task {task_id!r} of instance {instance_id!r} is held by worker {task.worker_id!r}, not {worker_id!r}",
                instance_id=instance_id,
                task_id=task_id,
            )
        return task
