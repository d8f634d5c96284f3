"""Worker sessions in the file. Their lives are locks, see ``lease.session``; the rows only list them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..lease.session import WorkerSession
from . import passing
from .database import Database
from .statements import sql

if TYPE_CHECKING:
    from ..store import SqliteClaimStore


def open_session(db: Database, worker_id: str, store: SqliteClaimStore) -> WorkerSession:
    """Take the lock, then let others see the row: both under the write lock, so nobody finds one without the other."""
    assert db.sessions is not None
    id = db.rows(sql.add_session, worker_id, os.getpid(), db.time.wall)[0][0]
    session = WorkerSession(id, worker_id, db.sessions.lock(id), store._end_session)
    db.own_sessions.append(session)
    return session


def close_session(db: Database, id: int) -> None:
    """Forget a session that holds nothing. What it still holds is lost, unless a child command lives on with it."""
    assert db.sessions is not None
    if not db.rows(sql.session_claims, id, 1):
        db.execute(sql.drop_session, (id,))
    elif not db.sessions.is_alive(id):
        passing.end_session(db, id)
