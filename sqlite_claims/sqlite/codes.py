"""The numbers that represent states in the file, and other numbers with a special meaning.

The statements in ``sql/*.sql`` use all these numbers by name, for example ``{task.claimed}`` or ``{claimed_side}``.
"""

from __future__ import annotations

from typing import Final

from ..model import InstanceState, TaskState
from ..schedules import CatchUp
from ..validate import METADATA_BYTES_MAX, WALL_US_MAX


class TaskCode:
    """``claims_tasks.state``. A waiting task is scheduled or ready, depending on the time.

    The class is not an ``IntEnum``, because every claim compares these numbers. With an enum member, a comparison takes
    ten times as long as with a plain integer.
    """

    BLOCKED: Final = 0
    WAITING: Final = 1
    CLAIMED: Final = 2
    COMPLETED: Final = 3
    FAILED: Final = 4
    CANCELLED: Final = 5


class InstanceCode:
    """``claims_instances.state``.

    CANCELLED: ``cancel_instance`` was called, so the instance is sealed. ALL_CANCELLED: all tasks of the instance were
    cancelled one by one or expired, so more tasks can be added.
    """

    IN_PROGRESS: Final = 0
    PAUSED: Final = 1
    COMPLETED: Final = 2
    FAILED: Final = 3
    CANCELLED: Final = 4
    ALL_CANCELLED: Final = 5


class AttemptCode:
    """``claims_attempts.outcome``."""

    FAILED: Final = 0
    LOST: Final = 1
    TIMED_OUT: Final = 2


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
    InstanceCode.ALL_CANCELLED: InstanceState.CANCELLED,
}

CATCH_UPS: tuple[CatchUp, ...] = ("latest", "all", "none")
"""The values of ``catch_up`` of schedules. The file stores the index."""

CLAIMED_SIDE = 1 << 32
"""The number that is added to a task's lane while the task is claimed. So claimed tasks form a separate key range in
the index, in which a search finds expired claims. The lane number of a paused instance's task is negative, so that no
search for work reads the task."""

QUEUE_MIN = 1 << 31
"""The lowest id of a queue (a row of claims_queues). All ids of lanes are lower. Below ``CLAIMED_SIDE``, a number in
``claims_tasks.lane`` is the id of a lane, or of a queue for a task with a limit."""

LIMIT_NUMBER_MAX = 10_000
"""The largest number of claims that a rule permits: ``concurrency``, and the number of claims of ``rate``."""

HAS_OPTIONS = 1
"""The bit in ``claims_lanes.traits`` of a lane whose tasks have a row in claims_options."""

IS_LIMITED = 2
"""The bit in ``claims_lanes.traits`` of a lane whose tasks have a limit. Such tasks are in the lane's queues."""

NEVER = 1 << 62
"""The value of ``claims_tasks.next_at`` for a claim that no search for work may take over. Such a claim has no expiry,
or is the last claim of its task. No id, count or token reaches this number."""

NUMBERS: dict[str, int] = {
    **{f"task.{name.lower()}": code for name, code in vars(TaskCode).items() if name.isupper()},
    **{f"instance.{name.lower()}": code for name, code in vars(InstanceCode).items() if name.isupper()},
    **{f"attempt.{name.lower()}": code for name, code in vars(AttemptCode).items() if name.isupper()},
    "claimed_side": CLAIMED_SIDE,
    "queue_min": QUEUE_MIN,
    "plain_lane_mask": -QUEUE_MIN,
    "claimed_queue_min": CLAIMED_SIDE + QUEUE_MIN,
    "is_limited": IS_LIMITED,
    "period_max": 366 * 86_400_000_000,
    "limit_number_max": LIMIT_NUMBER_MAX,
    "has_options": HAS_OPTIONS,
    "traits_max": HAS_OPTIONS | IS_LIMITED,
    "never": NEVER,
    "metadata_bytes_max": METADATA_BYTES_MAX,
    "lane_max": CLAIMED_SIDE - 1,
    "claimed_lane_max": 2 * CLAIMED_SIDE - 1,
    "number_max": NEVER - 1,
    "int_max": (1 << 31) - 1,
    "store_time_max": 1 << 60,
    "wall_min": -62_135_596_800_000_000,  # the year 1
    "wall_max": WALL_US_MAX + 999_999,  # the end of the year 9999
    "delay_s_max": WALL_US_MAX // 1_000_000,
}
"""The number for each name that the statements use. A name is replaced by its number when the statements are loaded."""
