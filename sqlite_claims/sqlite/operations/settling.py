"""Completing and failing, and what follows for dependents and for the instance."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import apsw

from ...errors import InvalidArgumentError, InvalidStateError, NotFoundError, StoreCorruptError
from ...model import RetryPolicy, TaskClaim
from ..codes import BROKEN, CALLED_OFF, DONE, FAILED, PAUSED
from ..database import Database
from ..statements import sql


def complete_plain(db: Database, claim: TaskClaim, output: bytes) -> bool:
    """Complete the claim's task in the fewest steps, if nothing follows from it but the count; else do nothing and say
    ``False``. (A third faster than ``complete``, which serves every case.)"""
    row = claim._row
    try:
        db.execute(sql.complete_plain, (row, db.time.wall, claim.token, claim.task_id, claim.instance_id))
    except (TypeError, ValueError, OverflowError):
        return False  # a claim that was tampered with
    if not db.changes():
        return False
    if output:
        db.execute(sql.store_output, (row, output))
    db.execute(sql.count_completed, (claim.instance_id,))
    return True


def complete(db: Database, rows: Sequence[tuple[Any, ...]], outputs: Sequence[bytes]) -> None:
    """Complete the tasks of these rows of ``claim_by_row``."""
    wall = db.time.wall
    db.execute(sql.complete_many, (apsw.carray(array("q", [row[0] for row in rows])), wall))
    stored = [(row[0], output) for row, output in zip(rows, outputs, strict=True) if output]
    if stored:
        db.executemany(sql.store_output, stored)
    unblocked: Counter[int] = Counter()
    for row in rows:
        if row[7] or row[10]:  # it has failed or was lost before, so there may be an error to forget
            db.execute(sql.drop_error, (row[0],))
        if row[13]:
            unblocked[row[6]] += db.rows(sql.count_unblocked, row[0])[0][0]
            db.execute(sql.unblock, (row[0], db.time.now, wall))
            db.ring()
    for instance, number in Counter(row[6] for row in rows).items():
        count_ended(db, instance, completed=number, unblocked=unblocked[instance])


def count_ended(
    db: Database, instance: int, *, completed: int = 0, failed: int = 0, cancelled: int = 0, unblocked: int = 0
) -> None:
    """Keep the instance's counters, and end it when none of its tasks is open. ``unblocked``: also by cancelling."""
    db.execute(sql.count_ended, (instance, completed, failed, cancelled, unblocked))
    still_open, not_completed = db.rows(sql.open_tasks, instance)[0]
    if still_open == 0:
        db.execute(sql.end_instance, (instance, BROKEN if not_completed else DONE, db.time.wall))


def fail(db: Database, row: tuple[Any, ...], error: str, retry: bool, retry_in: int | None) -> None:
    """End the claim of a row of ``claim_by_row`` as a failure."""
    id, _, _, _, _, _, instance, failures, max_attempts, policy, *_ = row
    failures += 1
    if not retry or failures >= max_attempts:
        fail_for_good(db, id, instance, error, failures=1, losses=0)
        return
    if retry_in is None:
        retry_in = stored_policy(db, policy).delay_us(failures, random.uniform(-1.0, 1.0))
    db.ring()
    db.execute(sql.retry_later, (id, db.time.now + retry_in))
    db.execute(sql.store_error, (id, error))


def stored_policy(db: Database, id: int) -> RetryPolicy:
    """A stored retry policy."""
    try:
        return RetryPolicy(*db.rows(sql.policy, id)[0])
    except (InvalidArgumentError, IndexError) as error:
        raise StoreCorruptError(f"{db.path}: claims_policy row {id}: no store writes it ({error})") from error


def fail_for_good(db: Database, id: int, instance: int, error: str, *, failures: int, losses: int) -> None:
    """The task has failed: so can nothing that depends on it run."""
    db.execute(sql.fail, (id, failures, losses, db.time.wall))
    db.execute(sql.store_error, (id, error))
    db.execute(sql.cancel_dependents, (id, db.time.wall))
    cancelled = db.changes()
    count_ended(db, instance, failed=1, cancelled=cancelled, unblocked=cancelled)


def retry_task(db: Database, instance_id: str, task_id: str) -> None:
    """Start a failed task over, and bring back what was cancelled because of it."""
    rows = db.rows(sql.task_to_retry, instance_id, task_id)
    if not rows:
        raise NotFoundError(f"there is no task {task_id!r} in an instance {instance_id!r}")
    id, instance, state, instance_state = rows[0]
    if instance_state == CALLED_OFF:
        raise InvalidStateError(f"instance {instance_id!r} is cancelled")
    if state != FAILED:
        raise InvalidStateError(f"task {task_id!r} of instance {instance_id!r} has not failed")
    paused = instance_state == PAUSED
    db.ring()
    db.execute(sql.retry, (id, db.time.now, paused))
    db.execute(sql.drop_error, (id,))
    restored = 0
    reopened = [id]
    while reopened:
        for (dependent,) in db.rows(sql.restorable, reopened.pop()):
            db.execute(sql.restore_dependent, (dependent, paused))
            restored += 1
            reopened.append(dependent)
    db.execute(sql.reopen_instance, (instance, 1, restored))
    db.lanes.opened_or_closed(db, instance)
