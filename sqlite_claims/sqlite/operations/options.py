"""The options that few tasks have, in the table claims_options: unique key, metadata, timeout and expiry.

All tasks of a lane with the trait ``HAS_OPTIONS`` have a row in this table, and no other task has one. So tasks without
options cost no additional statement.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence

import apsw

from ...errors import StoreCorruptError
from ...model import NewTask
from ...validate import duration_us, metadata_json, shown
from ..database import Database
from ..rows import OptionsRow
from ..statements import sql
from ..times import wall_us

NO_OPTIONS = OptionsRow(0, None, None, None, None, None)


def add(db: Database, tasks: Iterable[tuple[int, NewTask]]) -> None:
    """Store the options of new tasks, each with its row id."""
    rows = []
    keys = []
    is_expiring = False
    for id, task in tasks:
        expires_wall = None if task.expires_at is None else wall_us(task.expires_at)
        is_expiring = is_expiring or expires_wall is not None
        metadata = metadata_json(task.metadata) if task.metadata else None
        timeout = None if task.timeout is None else duration_us("timeout", task.timeout)
        if task.unique_key is not None:
            keys.append((task.unique_key, id))
        rows.append((id, task.unique_key, metadata, timeout, expires_wall, expires_wall))
    db.executemany(sql.add_options, rows)
    if keys:
        db.executemany(sql.set_key, keys)
    if is_expiring:
        db.execute(sql.set_expiring)


def of_tasks(db: Database, ids: Sequence[int]) -> dict[int, OptionsRow]:
    """Return the options of tasks by the tasks' row ids."""
    return {row.task: row for row in db.rows(sql.options, apsw.carray(array("q", ids)))}


def metadata_of(db: Database, options: OptionsRow) -> dict[str, str]:
    """Return the metadata of a task; ``{}`` if the task has none."""
    if options.metadata is None:
        return {}
    try:
        found = json.loads(options.metadata)
        if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
            return found
    except (ValueError, RecursionError):
        pass
    raise StoreCorruptError(f"{db.path}: claims_options row {options.task}: metadata is {shown(options.metadata)}")
