"""The table of instances that ``status`` and ``top`` show."""

from __future__ import annotations

from ..model import InstanceInfo, InstanceState, TaskState
from .text import Column, clean

OPEN_STATES = (InstanceState.IN_PROGRESS, InstanceState.PAUSED)
INSTANCE_COLUMNS = [Column("INSTANCE", "cut"), Column("STATE"), *(Column(state.value.upper()) for state in TaskState)]


def instance_cells(instance: InstanceInfo) -> list[str]:
    """Return the table cells of an instance. If a count is zero, its cell is empty."""
    return [
        clean(instance.instance_id),
        instance.state.value,
        *(str(instance.counts[state] or "") for state in TaskState),
    ]
