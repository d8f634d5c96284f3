"""The state of an engine, and the rules that several subjects use."""

from __future__ import annotations

from dataclasses import replace

from ...clock import Clock
from ...errors import NotFoundError
from ...model import InstanceState, TaskState
from ..records import Instance, State, Task


class EngineBase:
    """The base class of the rules of all subjects."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        boot = clock.boot_us()
        self.state = State(boot_id=clock.boot_id(), boot=boot, slept=boot - clock.awake_us())
        self.now = boot
        self.wall = clock.wall_us()
        # The dead sessions are not part of the state, because a rollback does not undo the death of a worker.
        self.dead_sessions: set[int] = set()

    def task(self, instance_id: str, task_id: str) -> Task:
        try:
            return self.state.tasks[instance_id, task_id]
        except KeyError:
            raise NotFoundError(
                f"There is no task {task_id!r} in instance {instance_id!r}", instance_id=instance_id, task_id=task_id
            ) from None

    def instance(self, instance_id: str) -> Instance:
        try:
            return self.state.instances[instance_id]
        except KeyError:
            raise NotFoundError(f"There is no instance {instance_id!r}", instance_id=instance_id) from None

    def _next_seq(self) -> int:
        self.state.next_seq += 1
        return self.state.next_seq

    def _put_instance(self, instance: Instance, state: InstanceState, reason: str | None = None) -> None:
        instance = replace(instance, state=state, reason=reason)
        finished_wall = self.wall if instance.state.has_ended else None
        self.state.instances[instance.instance_id] = replace(instance, finished_wall=finished_wall)

    def _end_if_done(self, instance_id: str) -> None:
        instance = self.state.instances[instance_id]
        if instance.state.has_ended or self.state.has_open_tasks(instance_id):
            return
        counts = self.state.tally[instance_id]
        if counts[TaskState.FAILED]:
            state = InstanceState.FAILED
        else:
            state = InstanceState.COMPLETED if counts[TaskState.COMPLETED] else InstanceState.CANCELLED
        self._put_instance(instance, state)


def without_claim(task: Task, **changes: object) -> Task:
    """Return the task without its claim, and with other changes."""
    return replace(task, session=None, expires=None, expires_wall=None, **changes)  # type: ignore[arg-type]
