"""The numbers that stand for states in the file, and the numbers with a meaning of their own.

The statements in ``sql/*.sql`` use all of them by name, e.g. ``{task.claimed}`` or ``{claimed_side}``.
"""

from __future__ import annotations

from enum import IntEnum

from ..model import InstanceState, TaskState
from ..validate import WALL_US_MAX


class TaskCode(IntEnum):
    """``claims_task.state``. A waiting task is scheduled or ready, depending on the time."""

    BLOCKED = 0
    WAITING = 1
    CLAIMED = 2
    COMPLETED = 3
    FAILED = 4
    CANCELLED = 5


class InstanceCode(IntEnum):
    """``claims_instance.state``."""

    IN_PROGRESS = 0
    PAUSED = 1
    COMPLETED = 2
    FAILED = 3
    CANCELLED = 4


TASK_STATES: dict[int, TaskState] = {
    TaskCode.BLOCKED: TaskState.BLOCKED,
    TaskCode.CLAIMED: TaskState.CLAIMED,
    TaskCode.COMPLETED: TaskState.COMPLETED,
    TaskCode.FAILED: TaskState.FAILED,
    TaskCode.CANCELLED: TaskState.CANCELLED,
}

INSTANCE_STATES: dict[int, InstanceState] = {
    InstanceCode.IN_PROGRESS: InstanceState.IN_PROGRESS,
    InstanceCode.PAUSED: InstanceState.PAUSED,
    InstanceCode.COMPLETED: InstanceState.COMPLETED,
    InstanceCode.FAILED: InstanceState.FAILED,
    InstanceCode.CANCELLED: InstanceState.CANCELLED,
}

CLAIMED_SIDE = 1 << 32
"""Added to a task's lane while the task is claimed: claimed tasks form a key range of their own in the index, where
expired claims are found. The lane of a paused instance's task is negative, so that no search for work reads it."""

NEVER = 1 << 62
"""``claims_task.next_at`` of a claim that no search for work may take over: it has no expiry, or its loss would be the
last one allowed. No id, count or token reaches this number either."""

NUMBERS = {
    **{f"task.{code.name.lower()}": code.value for code in TaskCode},
    **{f"instance.{code.name.lower()}": code.value for code in InstanceCode},
    "claimed_side": CLAIMED_SIDE,
    "never": NEVER,
    "lane_max": CLAIMED_SIDE - 1,
    "claimed_lane_max": 2 * CLAIMED_SIDE - 1,
    "number_max": NEVER - 1,
    "int_max": (1 << 31) - 1,
    "store_time_max": 1 << 60,
    "wall_min": -62_135_596_800_000_000,  # the year 1
    "wall_max": WALL_US_MAX + 999_999,  # the end of the year 9999
    "delay_s_max": WALL_US_MAX // 1_000_000,
}
"""Names that the statements use, each replaced by its number when the statements are loaded."""
