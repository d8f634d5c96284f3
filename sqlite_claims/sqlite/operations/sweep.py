"""The lazy sweep: expired last claims, claims of dead workers, due tasks, and tasks of instances in motion.

There is no background sweeper. Every search for work first runs the sweep, in transactions of bounded size, as many as
it takes until nothing claimable can be hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ..codes import InstanceCode, TaskCode
from ..database import Database
from ..rows import DueTask, NamedTask, SweepState
from ..sessions.lock_holders import runs
from ..statements import sql
from . import control, settling

# Tasks or sessions of each sort that are swept in one transaction: a few milliseconds of the write lock.
TASKS_PER_SWEEP = 1000
# Tasks that are due at the same instant must get the same position, although the wall clock drifts against store time.
_DRIFT_US_MAX = 10_000
# Expired last claims and tasks of instances in motion never hide a claimable task, so they can be deferred. Where there
# are many of them, a process runs a step of 2 to 3 ms once in this time, and whenever it has found no work.
EXPIRED_PER_SWEEP = 200
REST_US = 10_000
# How often a process checks for sessions whose command has ended and left processes behind.
LEFT_BEHIND_EVERY_US = 1_000_000


def sweep_state(db: Database) -> SweepState:
    """Return what a search for work needs to know, and whether there is anything to sweep."""
    return db.rows(sql.sweep_state, db.time.now, db.time.wall)[0]


def is_needed(db: Database, state: SweepState) -> bool:
    """Return whether the sweep has to run before a search for work."""
    _, _, _, _, has_due_tasks = state
    if has_due_tasks or db.time.slept() or (has_deferrable_work(state) and db.time.now >= db.rest_until):
        return True
    return _probe_is_due(db) and bool(dead_sessions(db))


def has_deferrable_work(state: SweepState) -> bool:
    """Return whether there is anything to sweep that can be deferred."""
    _, _, moving, has_expired_last_claims, _ = state
    return bool(moving or has_expired_last_claims)


def _probe_is_due(db: Database) -> bool:
    return db.sessions is not None and db.time.now - db.probed_us >= db.probe_every_us


def dead_sessions(db: Database) -> list[int]:
    """Return a bounded number of sessions whose worker is dead: the kernel has released their locks.

    If there is none, the time of this probe is recorded.
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
    """Return whether a session is known to be over. Reads ``/proc`` only if the locks don't show it."""
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
    """Sweep a bounded number of tasks; return whether more are left that could be claimed afterwards.

    Leases that a sleep of the machine prolongs are no part of this: that happened when the write lock was taken.
    """
    expired = db.rows(sql.expired_last_claims, db.time.now, EXPIRED_PER_SWEEP)
    expired += db.rows(sql.expired_last_claims_in_motion, db.time.now, EXPIRED_PER_SWEEP - len(expired))
    for (id,) in expired:
        record_loss(db, id)
    remaining = TASKS_PER_SWEEP
    for priority in range(1, 6):
        due = db.rows(sql.due_tasks, priority, db.time.wall, remaining)
        make_due(db, due)
        remaining -= len(due)
    dead = dead_sessions(db)
    more = [remaining == 0, len(dead) == TASKS_PER_SWEEP, *(end_session(db, session) for session in dead)]
    if control.move_step(db) or len(expired) == EXPIRED_PER_SWEEP:
        db.rest_until = db.time.now + REST_US
    return any(more)


def end_session(db: Database, session: int) -> bool:
    """Record a bounded number of a dead worker's claims as lost, and delete the session once it has none.

    Returns whether more of its claims are left. Claims of a cancelled instance don't count as such: control.move_step
    ends them.
    """
    lost = sum(record_loss(db, id) for (id,) in db.rows(sql.session_claims, session, TASKS_PER_SWEEP))
    if db.rows(sql.session_claims, session, 1):
        return lost > 0
    db.execute(sql.drop_session, (session,))
    return False


def make_due(db: Database, tasks: Sequence[DueTask]) -> None:
    """Put tasks whose ``available_at`` has passed into the order of claims, at the position of that moment."""
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


def record_loss(db: Database, id: int, why: str = "") -> bool:
    """Record the claim of a task as lost: the task is ready again, at the position of now, or fails at ``max_lost``.

    Returns ``False`` if there is no claim. ``why``: the cause of the loss, if known, for the task's error.
    """
    task = db.rows(sql.task_of_loss, id)[0]
    # The tasks of a cancelled instance are cancelled by control.move_step.
    if task.state != TaskCode.CLAIMED or task.instance_state == InstanceCode.CANCELLED:
        return False
    losses = task.losses + 1
    if losses < task.max_lost:
        db.ring()
        db.execute(sql.record_loss, (id, db.time.now))
        return True
    message = f"lost {losses} claims; max_lost is {task.max_lost}{why and f'; {why}'}"
    settling.fail_for_good(db, id, instance=task.instance, error=message, failures=0, losses=1)
    return True


def sweep_task(db: Database, task: NamedTask) -> bool:
    """Sweep one task that is to be claimed by name; return whether that changed anything."""
    if task.state == TaskCode.WAITING and task.next_at is None:
        if task.due_wall is not None and task.due_wall <= db.time.wall:
            make_due(db, [DueTask(task.id, task.due_wall)])
            return True
    elif task.state == TaskCode.CLAIMED and task.session is not None and is_over(db, task.session):
        record_loss(db, task.id)
        end_session(db, task.session)
        return True
    return False
