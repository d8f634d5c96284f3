"""Completing and failing tasks, and updating their dependents and their instance."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Sequence

import apsw

from ...backend import Failure
from ...errors import InvalidArgumentError, StoreCorruptError
from ...model import RetryPolicy, TaskClaim
from ..codes import AttemptCode, InstanceCode, TaskCode
from ..database import Database
from ..rows import ID, HeldTask, LosingTask
from ..statements import sql
from . import attempts


def complete_plain(db: Database, claim: TaskClaim, output: bytes) -> bool:
    """Complete the claim's task with the fewest statements, if only the task and the instance's counter change.

    Otherwise change nothing and return ``False``. This function is a third faster than ``complete``, which handles
    every case.
    """
    row = claim._row
    try:
        db.execute(sql.complete_plain, (row, db.time.wall, db.time.now, claim.token, claim.task_id, claim.instance_id))
    except (TypeError, ValueError, OverflowError):
        return False  # a field of the claim was changed by the caller
    if not db.changes():
        return False
    if output:
        db.execute(sql.store_output, (row, output))
    db.execute(sql.count_completed, (claim.instance_id,))
    return True


def complete(db: Database, tasks: Sequence[HeldTask], outputs: Sequence[bytes]) -> None:
    """Complete held tasks, each with its output."""
    wall = db.time.wall
    ids = [task[ID] for task in tasks]
    db.execute(sql.complete_many, (apsw.carray(array("q", ids)), wall, db.time.now))
    stored = [(id, output) for id, output in zip(ids, outputs, strict=True) if output]
    if stored:
        db.executemany(sql.store_output, stored)
    unblocked: Counter[int] = Counter()
    completed: dict[int, int] = {}
    for id, _, _, _, _, _, instance, failures, _, _, losses, _, _, followers, lane in tasks:
        completed[instance] = completed.get(instance, 0) + 1
        db.limits.touch(db, lane)
        if failures or losses:  # such a task can have a stored error
            db.execute(sql.drop_error, (id,))
        if followers & 2:
            db.execute(sql.drop_checkpoint, (id,))
        if followers & 1:
            number, any_limited = db.rows(sql.count_unblocked, id)[0]
            unblocked[instance] += number
            if any_limited:
                for (dependent_lane,) in db.rows(sql.limited_lanes_unblocked, id):
                    db.limits.touch(db, dependent_lane)
            db.execute(sql.unblock, (id, db.time.now, wall))
            db.ring()
    for instance, number in completed.items():
        count_ended(db, instance, completed=number, unblocked=unblocked[instance])


def count_ended(
    db: Database, instance: int, *, completed: int = 0, failed: int = 0, cancelled: int = 0, unblocked: int = 0
) -> None:
    """Update the instance's counters, and end the instance if none of its tasks is open any more.

    ``unblocked``: the number of tasks that are not blocked any more, including blocked tasks that were cancelled.
    """
    db.execute(sql.count_ended, (instance, completed, failed, cancelled, unblocked))
    still_open, has_failed, has_completed = db.rows(sql.open_tasks, instance)[0]
    if still_open == 0:
        state = InstanceCode.COMPLETED if has_completed else InstanceCode.ALL_CANCELLED
        db.execute(sql.end_instance, (instance, InstanceCode.FAILED if has_failed else state, db.time.wall))


def fail(db: Database, task: HeldTask, failure: Failure) -> None:
    """Record a failure of a held task, which ends its claim."""
    id, _, _, _, _, _, instance, failures, max_attempts, policy, _, _, _, _, lane = task
    error, retry, retry_in_us, detail, timed_out = failure
    failures += 1
    db.limits.touch(db, lane)
    attempts.record(db, id, AttemptCode.TIMED_OUT if timed_out else AttemptCode.FAILED, error, detail)
    if not retry or failures >= max_attempts:
        fail_for_good(db, id, instance=instance, error=error, failures=1, losses=0)
        return
    if retry_in_us is None:
        retry_in_us = stored_policy(db, policy).delay_us(failures, random.uniform(-1.0, 1.0))
    db.ring()
    db.execute(sql.retry_later, (id, db.time.now + retry_in_us))
    db.execute(sql.store_error, (id, error))


def stored_policy(db: Database, id: int) -> RetryPolicy:
    """Return a stored retry policy."""
    try:
        return RetryPolicy(*db.rows(sql.policy, id)[0])
    except (InvalidArgumentError, IndexError) as error:
        raise StoreCorruptError(f"{db.path}: claims_policies row {id}: no store writes it ({error})") from error


def fail_for_good(db: Database, id: int, *, instance: int, error: str, failures: int, losses: int) -> None:
    """Set a task to failed without a further attempt, and cancel all direct and indirect dependents of the task.

    ``failures`` and ``losses`` are added to the task's counts.
    """
    db.execute(sql.fail, (id, db.time.wall, db.time.now, failures, losses))
    db.execute(sql.store_error, (id, error))
    db.execute(sql.cancel_dependents, (id, db.time.wall, db.time.now))
    cancelled = db.changes()
    count_ended(db, instance, failed=1, cancelled=cancelled, unblocked=cancelled)


def cancel(db: Database, id: int, task: LosingTask, *, error: str) -> None:
    """Cancel an open task without a claim, and all its direct and indirect dependents."""
    db.limits.touch(db, task.lane)
    db.execute(sql.cancel, (id, db.time.wall, db.time.now))
    db.execute(sql.store_error, (id, error))
    db.execute(sql.cancel_dependents, (id, db.time.wall, db.time.now))
    dependents = db.changes()
    unblocked = dependents + (task.state == TaskCode.BLOCKED)
    count_ended(db, task.instance, cancelled=1 + dependents, unblocked=unblocked)
