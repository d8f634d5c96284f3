"""The sweep, which handles expired last claims, claims of dead workers, due tasks, and tasks of moving instances.

There is no background process. Every search for work first runs the sweep in transactions of bounded size, until the
search can find every claimable task.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ..codes import AttemptCode, InstanceCode, TaskCode
from ..database import Database
from ..rows import DueTask, NamedTask, SweepState
from ..sessions.lock_holders import runs
from ..statements import sql
from ..ticks import DAY_US
from . import attempts, control, expiry, settling

# The number of due tasks, and of dead sessions, that are swept in one transaction. The transaction holds the write lock
# for a few milliseconds.
TASKS_PER_SWEEP = 1000
# The number of partitions of limits whose heads are computed anew in one transaction.
PARTITIONS_PER_SWEEP = 200
# Tasks that are due at the same time must get the same position, even if they are swept at different times. The wall
# clock drifts against store time, so a change of the offset between the two clocks by up to this much is ignored.
_DRIFT_US_MAX = 10_000
# Expired last claims and tasks of moving instances never hide a claimable task, so the sweep can handle them later. If
# there are many such tasks, a process sweeps them in steps of 2 to 3 ms, with at most ``EXPIRED_PER_SWEEP`` claims in a
# step. The process runs such a step once per ``REST_US``, and after each search that finds no work.
EXPIRED_PER_SWEEP = 200
REST_US = 10_000
# The interval at which a process checks for sessions that only descendants of an ended command keep alive.
LEFT_BEHIND_EVERY_US = 1_000_000


def sweep_state(db: Database) -> SweepState:
    """Return the values that a search for work needs, and whether there is anything to sweep."""
    return db.rows(sql.sweep_state, db.time.now, db.time.wall)[0]


def is_needed(db: Database, state: SweepState) -> bool:
    """Return whether the sweep has to run before a search for work."""
    _, _, _, _, has_due_tasks, next_tick, has_expired_tasks = state
    if has_due_tasks or has_expired_tasks or db.time.slept():
        return True
    if has_deferrable_work(state) and db.time.now >= db.rest_until:
        return True
    if next_tick is not None and ticks_are_due(db, next_tick):
        return True
    return _probe_is_due(db) and bool(dead_sessions(db))


def ticks_are_due(db: Database, next_tick: int) -> bool:
    """Return whether ticks of schedules are due, or the wall clock was set back by a day or more since a tick."""
    if next_tick != db.next_tick:
        db.next_tick = next_tick
        db.tick_offset_us = db.value(sql.tick_offset)
    if db.time.now < db.ticks_rest_until:
        return False
    now, wall = db.time.now, db.time.wall
    return next_tick <= wall or wall - now <= (db.tick_offset_us or 0) - DAY_US


def has_deferrable_work(state: SweepState) -> bool:
    """Return whether there are expired last claims or moving instances, which a sweep may handle later."""
    _, _, moving, has_expired_last_claims, _, _, _ = state
    return bool(moving or has_expired_last_claims)


def _probe_is_due(db: Database) -> bool:
    return db.sessions is not None and db.time.now - db.probed_us >= db.probe_every_us


def dead_sessions(db: Database) -> list[int]:
    """Return a bounded number of sessions whose worker is dead. The kernel has released the locks of these sessions.

    If there is no dead session, record the time of this check.
    """
    if db.sessions is None:
        return []
    sessions = db.rows(sql.sessions)
    if db.time.now - db.left_behind_us >= LEFT_BEHIND_EVERY_US:
        db.left_behind_us = db.time.now
        db.left_behind = {id for id, pid in sessions if db.sessions.is_left_behind(id, pid)}
    dead = list(islice((id for id, _ in sessions if is_over(db, id)), TASKS_PER_SWEEP))
    if not dead:
        db.probed_us = db.time.now
    return dead


def is_over(db: Database, session: int) -> bool:
    """Return whether a session is known to have ended.

    If the locks don't show whether the session has ended, check whether the session's process is running.
    """
    sessions = db.sessions
    if sessions is None or session in db.left_behind:
        return sessions is not None
    if sessions.is_alive(session):
        return False
    if not sessions.in_place():
        db.check_files_soon()
        return False
    elsewhere = sessions.may_be_elsewhere(session, db.time.now)
    if elsewhere is not None:
        return not elsewhere
    pids = db.rows(sql.session_pid, session)
    return not any(runs(pid) for (pid,) in pids)


def sweep(db: Database) -> bool:
    """Sweep a bounded number of tasks; return whether more tasks are left that a sweep would make claimable.

    The sweep doesn't prolong leases after the machine slept, because a process prolongs leases when the process takes
    the write lock.
    """
    # First, so that an expired task has its error also if one of its dependencies fails in this step.
    expiry.sweep_step(db)
    expired = db.rows(sql.expired_last_claims, db.time.now, EXPIRED_PER_SWEEP)
    expired += db.rows(sql.expired_last_claims_in_motion, db.time.now, EXPIRED_PER_SWEEP - len(expired))
    for (id,) in expired:
        record_loss(db, id, attempts.EXPIRED)
    partitions = db.rows(sql.partitions_to_check, db.time.now, PARTITIONS_PER_SWEEP)
    for (partition,) in partitions:
        db.limits.touched.add(partition)
    remaining = TASKS_PER_SWEEP
    for priority in range(1, 6):
        due = db.rows(sql.due_tasks, priority, db.time.wall, remaining)
        make_due(db, due)
        remaining -= len(due)
    dead = dead_sessions(db)
    more = [
        remaining == 0,
        len(partitions) == PARTITIONS_PER_SWEEP,
        len(dead) == TASKS_PER_SWEEP,
        *(end_session(db, session) for session in dead),
    ]
    if control.move_step(db) or len(expired) == EXPIRED_PER_SWEEP:
        db.rest_until = db.time.now + REST_US
    return any(more)


def end_session(db: Database, session: int) -> bool:
    """Record the loss of a bounded number of claims of a dead worker. If no claims are left, delete the session.

    Return whether more claims of the session are left. Claims on tasks of a cancelled instance are not counted here,
    because control.move_step ends these claims.
    """
    lost = sum(
        record_loss(db, id, attempts.WORKER_DIED) for (id,) in db.rows(sql.session_claims, session, TASKS_PER_SWEEP)
    )
    if db.rows(sql.session_claims, session, 1):
        return lost > 0
    db.execute(sql.drop_session, (session,))
    return False


def make_due(db: Database, tasks: Sequence[DueTask]) -> None:
    """Give tasks whose ``available_at`` has passed their position in the order of claims."""
    if not tasks:
        return
    offset = db.time.now - db.time.wall
    stored = db.value(sql.due_offset)
    if abs(offset - stored) <= _DRIFT_US_MAX:
        offset = stored
    else:
        db.execute(sql.set_due_offset, (offset,))
    now = db.time.now
    db.executemany(sql.set_position, [(task.id, min(now, task.due_wall + offset)) for task in tasks])
    for task in tasks:
        db.limits.touch(db, task.lane)


def record_loss(db: Database, id: int, cause: str, why: str = "", *, position: int | None = None) -> bool:
    """Record the claim of a task as lost. The task then becomes ready, or fails.

    A ready task gets ``position``, or the current store time, as its position. The task fails if the number of its
    losses reaches ``max_lost``. Return ``False`` if the task has no claim. ``cause``: the error of the attempt.
    ``why``: a more exact cause, if known, which also becomes a part of the task's error.
    """
    task = db.rows(sql.task_of_loss, id)[0]
    # The tasks of a cancelled instance are cancelled by control.move_step.
    if task.state != TaskCode.CLAIMED or task.instance_state == InstanceCode.CANCELLED:
        return False
    losses = task.losses + 1
    db.limits.touch(db, task.lane)
    attempts.record(db, id, AttemptCode.LOST, why or cause)
    if losses < task.max_lost:
        db.ring()
        db.execute(sql.record_loss, (id, db.time.now if position is None else position))
        return True
    message = f"lost {losses} claims; max_lost is {task.max_lost}{why and f'; {why}'}"
    settling.fail_for_good(db, id, instance=task.instance, error=message, failures=0, losses=1)
    return True


def sweep_task(db: Database, task: NamedTask) -> bool:
    """Sweep one task before it is claimed by name; return whether the sweep changed the task."""
    if task.state in (TaskCode.BLOCKED, TaskCode.WAITING) and expiry.expire_if_due(db, task.id, task.lane):
        return True
    if task.state == TaskCode.WAITING and task.next_at is None:
        if task.due_wall is not None and task.due_wall <= db.time.wall:
            make_due(db, [DueTask(task.id, task.due_wall, task.lane)])
            return True
    elif task.state == TaskCode.CLAIMED and task.session is not None and is_over(db, task.session):
        record_loss(db, task.id, attempts.WORKER_DIED)
        end_session(db, task.session)
        return True
    return False
