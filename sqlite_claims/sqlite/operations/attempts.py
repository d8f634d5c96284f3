"""The record of attempts that ended without completion."""

from __future__ import annotations

from typing import Literal

from ...errors import NotFoundError
from ...model import AttemptInfo
from ..codes import AttemptCode
from ..database import Database
from ..statements import sql
from ..times import moment

_OUTCOMES: dict[int, Literal["failed", "lost", "timed out"]] = {
    AttemptCode.FAILED: "failed",
    AttemptCode.LOST: "lost",
    AttemptCode.TIMED_OUT: "timed out",
}
EXPIRED = "the claim expired"
WORKER_DIED = "the worker's process ended"


def record(db: Database, id: int, outcome: int, error: str, detail: bytes = b"") -> None:
    """Record the end of a task's current attempt, before the claim ends. Only the newest attempts are kept."""
    db.execute(sql.add_attempt, (id, db.time.wall, outcome, error, detail))
    db.execute(sql.drop_oldest_attempt, (id,))


def listed(db: Database, *, instance_id: str, task_id: str) -> list[AttemptInfo]:
    """Return the recorded attempts of a task, oldest first."""
    rows = db.rows(sql.task_by_name, instance_id, task_id)
    if not rows:
        raise NotFoundError(
            f"there is no task {task_id!r} in instance {instance_id!r}", instance_id=instance_id, task_id=task_id
        )
    return [
        AttemptInfo(
            row.attempt,
            row.worker,
            moment(row.started_wall),
            moment(row.ended_wall),
            _OUTCOMES[row.outcome],
            row.error,
            row.detail,
        )
        for row in db.rows(sql.attempts, rows[0].id)
    ]
