"""The states as the file has them: small integers."""

from __future__ import annotations

from ..model import InstanceState, TaskState

BLOCKED, WAITING, CLAIMED, COMPLETED, FAILED, CANCELLED = range(6)
"""``claims_task.state``. A waiting task is scheduled or ready, depending on the time."""

TASK_STATES = {
    BLOCKED: TaskState.BLOCKED,
    CLAIMED: TaskState.CLAIMED,
    COMPLETED: TaskState.COMPLETED,
    FAILED: TaskState.FAILED,
    CANCELLED: TaskState.CANCELLED,
}

RUNNING, PAUSED, DONE, BROKEN, CALLED_OFF = range(5)
"""``claims_instance.state``: in progress, paused, completed, failed, cancelled."""

INSTANCE_STATES = {
    RUNNING: InstanceState.IN_PROGRESS,
    PAUSED: InstanceState.PAUSED,
    DONE: InstanceState.COMPLETED,
    BROKEN: InstanceState.FAILED,
    CALLED_OFF: InstanceState.CANCELLED,
}
