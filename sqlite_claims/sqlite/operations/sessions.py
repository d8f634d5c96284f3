"""Worker sessions in the file. Their lives are locks, see ``sqlite.sessions.session_file``; the rows only list them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from ...errors import StoreCorruptError
from ...model import TaskClaim
from ..database import Database
from ..sessions.session_file import SESSIONS_MAX, InstanceFeed, WorkerSession
from ..statements import sql
from . import claiming, sweep
from .reading import instance_row


def open_session(db: Database, worker_id: str, forget: Callable[[WorkerSession], None]) -> WorkerSession:
    """Take the lock, then let others see the row: both under the write lock, so nobody finds one without the other.

    No operation of a transaction but one itself: where it can't be committed, the lock is let go of.
    """
    made: list[WorkerSession] = []
    try:
        db.write(_open_session, False, worker_id, forget, made)
    except BaseException:
        for session in made:
            session.drop()
            if session in db.own_sessions:
                db.own_sessions.remove(session)
        raise
    return made[0]


def _open_session(
    db: Database, worker_id: str, forget: Callable[[WorkerSession], None], made: list[WorkerSession]
) -> None:
    assert db.sessions is not None
    while not made:
        id = db.rows(sql.add_session, worker_id, os.getpid(), db.time.wall)[0][0]
        if id >= SESSIONS_MAX:
            raise StoreCorruptError(f"{db.path}: claims_session row {id}: session ids are used up")
        descriptor = db.sessions.lock(id)
        if descriptor is None:  # held by somebody of a file that was here before this one: not a number of ours
            db.execute(sql.drop_session, (id,))
            continue
        made.append(WorkerSession(id, worker_id, descriptor, forget))
        db.own_sessions += made


def close_session(db: Database, id: int) -> None:
    """Forget a session that holds nothing. What it still holds is lost, unless a child command lives on with it."""
    assert db.sessions is not None
    if not db.rows(sql.session_claims, id, 1):
        db.execute(sql.drop_session, (id,))
    elif sweep.is_over(db, id):
        sweep.end_session(db, id)


def lose_claims(db: Database, claims: Sequence[TaskClaim], why: str) -> list[TaskClaim]:
    """Count claims whose session is over as lost; those that were. ``why``: how its process died."""
    dead = sweep.dead_sessions(db)
    lost = []
    for claim, row in zip(claims, claiming.held_rows(db, claims), strict=True):
        if row is not None and db.rows(sql.session_of, row[0])[0][0] in dead and sweep.lose(db, row[0], why):
            lost.append(claim)
    return lost


def feed_instance(db: Database, instance_id: str) -> InstanceFeed:
    """Mark an instance as one that this process feeds; ``NotFoundError`` where there is none. Under the write lock, so
    that it comes before a prune or after it."""
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
    made.append(InstanceFeed(row, db.sessions.feed(row), db.own_feeds.discard))
    db.own_feeds.update(made)
