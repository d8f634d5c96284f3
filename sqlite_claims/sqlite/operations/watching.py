"""Waiting for the end of many tasks. Each poll reads one column of each task that has not ended yet."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import apsw

from ...errors import NotFoundError
from ...model import TaskInfo
from ..database import Database
from ..statements import sql
from .reading import task_info

# While more tasks than this are open, a poll reads only every so often which tasks still exist.
_FEW = 500
_LOOK_US = 500_000


class TaskWatch:
    """The tasks that a caller waits for. A transaction runs each method."""

    def __init__(self, db: Database, refs: Sequence[tuple[str, str]]) -> None:
        self._instances: dict[int, int] = {}  # the row of each task's instance, by the row of the task
        for ref in refs:
            rows = db.rows(sql.task_and_instance, *ref)
            if not rows:
                instance_id, task_id = ref
                raise NotFoundError(
                    f"there is no task {task_id!r} in instance {instance_id!r}",
                    instance_id=instance_id,
                    task_id=task_id,
                )
            self._instances[rows[0].id] = rows[0].instance
        self._open = array("q", sorted(self._instances))
        self._looked_us = -(1 << 62)

    @property
    def size(self) -> int:
        """The number of tasks that still exist and have not ended."""
        return len(self._open)

    def poll(self, db: Database) -> list[TaskInfo]:
        """Return the tasks that have ended, in the order of their ends. Stop watching them, and tasks that were
        deleted."""
        if not self._open:
            return []
        moving = db.value(sql.moving) > 0
        ended = sorted(db.rows(sql.ended_among, apsw.carray(self._open), moving, db.time.now))
        if ended or self.size <= _FEW or db.time.now - self._looked_us >= _LOOK_US:
            self._looked_us = db.time.now
            # A later task can have got the row of a deleted task, but not the row of the deleted instance.
            existing = dict(db.rows(sql.existing_among, apsw.carray(self._open)))
            gone = {id for id in self._open if existing.get(id) != self._instances[id]}
        else:
            gone = set()
        if ended or gone:
            done = gone | {id for _, id in ended}
            self._open = array("q", [id for id in self._open if id not in done])
        ids = array("q", [id for _, id in ended if id not in gone])
        if not ids:
            return []
        infos = {row.id: task_info(db, row) for row in db.rows(sql.task_by_row, apsw.carray(ids))}
        return [infos[id] for id in ids]
