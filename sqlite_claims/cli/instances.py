"""The table of instances that ``status`` and ``top`` show, and the names that stand for stored names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from ..errors import InvalidArgumentError, NotFoundError
from ..model import InstanceInfo, InstanceState, TaskState
from ..sqlite.store import SqliteClaimStore
from .text import Column, clean

OPEN_STATES = (InstanceState.IN_PROGRESS, InstanceState.PAUSED)
INSTANCE_COLUMNS = [
    Column("INSTANCE", "cut"),
    Column("STATE"),
    *(Column(state.value.upper()) for state in TaskState),
    Column("COMMAND", "cut"),
]
_MAP_DEFINITION = re.compile(r"[0-9a-f]{32} (.*)", re.DOTALL)
_NAMES_SHOWN_MAX = 5


def instance_cells(instance: InstanceInfo) -> list[str]:
    """Return the table cells of an instance. If a count is zero, its cell is empty."""
    match = _MAP_DEFINITION.fullmatch(instance.definition_hash)
    return [
        clean(instance.instance_id),
        instance.state.value,
        *(str(instance.counts[state] or "") for state in TaskState),
        clean(match[1]) if match is not None else "",
    ]


def find_instance(store: SqliteClaimStore, name: str) -> str:
    """Return the id of the instance with this name, or of the only instance whose name begins with it.

    Raises:
        InvalidArgumentError: Several names begin with ``name``.
        NotFoundError: No name begins with ``name``.
    """
    try:
        return store.get_instance(name).instance_id
    except NotFoundError as error:
        return _only_match("instance", name, (info.instance_id for info in store.list_instances()), error)


def find_task(store: SqliteClaimStore, instance_id: str, name: str) -> str:
    """Return the id of the task with this name in the instance, or of the only task whose name begins with it.

    Raises:
        InvalidArgumentError: Several names begin with ``name``.
        NotFoundError: No name begins with ``name``.
    """
    try:
        return store.get_task(instance_id, name).task_id
    except NotFoundError as error:
        return _only_match("task", name, (info.task_id for info in store.list_tasks(instance_id)), error)


def _only_match(noun: str, prefix: str, names: Iterable[str], error: NotFoundError) -> str:
    found = list(islice((name for name in names if name.startswith(prefix)), _NAMES_SHOWN_MAX + 1))
    if not found:
        raise error
    if len(found) > 1:
        shown = ", ".join(found[:_NAMES_SHOWN_MAX]) + (", ..." if len(found) > _NAMES_SHOWN_MAX else "")
        raise InvalidArgumentError(f"more than one {noun} has a name that begins with {prefix!r}: {shown}")
    return found[0]
