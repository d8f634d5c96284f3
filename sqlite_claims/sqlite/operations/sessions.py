"""Worker sessions in the file.

A session exists as long as a process holds the session's lock, which ``sqlite.sessions.session_file`` explains. The
rows in the file only list the sessions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from ...errors import StoreCorruptError
from ...model import TaskClaim
from ..database import Database
from ..rows import ID
from ..sessions.locks import SESSIONS_MAX
from ..sessions.owned_locks import InstanceFeed, SqliteWorkerSession
from ..statements import sql
from . import attempts, claiming, sweep
from .reading import instance_row


def open_session(db: Database, worker_id: str, forget: Callable[[SqliteWorkerSession], None]) -> SqliteWorkerSession:
    """Take a session's lock and add the session's row. Both steps run under the write lock, so no row lacks a lock.

    This function runs its own transaction. If the transaction can't be committed, the session's lock is released.
    """
    made: list[SqliteWorkerSession] = []
    try:
        db.write(_open_session, False, worker_id, forget, made)
    except BaseException:
        for session in made:
            session.drop()
            if session in db.local_sessions:
                db.local_sessions.remove(session)
        raise
    return made[0]


def _open_session(
    db: Database, worker_id: str, forget: Callable[[SqliteWorkerSession], None], made: list[SqliteWorkerSession]
) -> None:
    assert db.sessions is not None
    while not made:
        id = db.value(sql.add_session, worker_id, os.getpid(), db.time.wall)
        if id >= SESSIONS_MAX:
            raise StoreCorruptError(f"{db.path}: claims_sessions row {id}: session ids are used up")
        descriptor = db.sessions.lock(id)
        if descriptor is None:  # a process that still uses an earlier -sessions file has this number
            db.execute(sql.drop_session, (id,))
            continue
        made.append(SqliteWorkerSession(id, worker_id, descriptor, forget))
        db.local_sessions += made


def close_session(db: Database, id: int) -> None:
    """Delete a session without claims. Otherwise record the claims of the session as lost.

    If a child process keeps the session alive, the session's claims stay valid.
    """
    assert db.sessions is not None
    if not db.rows(sql.session_claims, id, 1):
        db.execute(sql.drop_session, (id,))
    elif sweep.is_over(db, id):
        sweep.end_session(db, id)


def record_losses(db: Database, claims: Sequence[TaskClaim], why: str) -> list[TaskClaim]:
    """Record the loss of each claim whose session has ended; return these claims. ``why``: the cause of the loss."""
    dead = sweep.dead_sessions(db)
    lost = []
    for claim, task in zip(claims, claiming.held_tasks(db, claims), strict=True):
        if (
            task is not None
            and db.value(sql.session_of, task[ID]) in dead
            and sweep.record_loss(db, task[ID], attempts.WORKER_DIED, why)
        ):
            lost.append(claim)
    return lost


def feed_instance(db: Database, instance_id: str) -> InstanceFeed:
    """Mark an instance as fed: this process is still adding tasks to the instance.

    The mark is set under the write lock, so a prune either sees the mark or has removed the instance already. If the
    instance doesn't exist, ``NotFoundError`` is raised.
    """
    made: list[InstanceFeed] = []
    try:
        db.write(_feed_instance, False, instance_id, made)
    except BaseException:
        for feed in made:
            feed.close()
        raise
    return made[0]


def _feed_instance(db: Database, instance_id: str, made: list[InstanceFeed]) -> None:
    assert db.sessions is not None
    row = instance_row(db, instance_id)
    made.append(InstanceFeed(row, db.sessions.feed(row), db.local_feeds.discard))
    db.local_feeds.update(made)
