"""The numbers that stand for states in the file, and the numbers with a meaning of their own.

The statements in ``sql/*.sql`` use all of them by name, e.g. ``{task.claimed}`` or ``{claimed_side}``.
"""

from __future__ import annotations

from typing import Final

from ..model import InstanceState, TaskState
from ..validate import WALL_US_MAX


class TaskCode:
    """``claims_task.state``. A waiting task is scheduled or ready, depending on the time.

    No ``IntEnum``, since every claim compares these: reading and comparing a member takes ten times as long.
    """

    BLOCKED: Final = 0
    WAITING: Final = 1
    CLAIMED: Final = 2
    COMPLETED: Final = 3
    FAILED: Final = 4
    CANCELLED: Final = 5


class InstanceCode:
    """``claims_instance.state``."""

    IN_PROGRESS: Final = 0
    PAUSED: Final = 1
    COMPLETED: Final = 2
    FAILED: Final = 3
    CANCELLED: Final = 4


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

NUMBERS: dict[str, int] = {
    **{f"task.{name.lower()}": code for name, code in vars(TaskCode).items() if name.isupper()},
    **{f"instance.{name.lower()}": code for name, code in vars(InstanceCode).items() if name.isupper()},
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
