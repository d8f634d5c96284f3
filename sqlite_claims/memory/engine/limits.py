"""The rules for limits. Everything is counted anew for each question, so no count can become wrong."""

from __future__ import annotations

from ...errors import NotFoundError
from ...model import InstanceState, TaskState
from ..records import Rule, Task
from .base import EngineBase


class Limits(EngineBase):
    """The rules for limits."""

    def rule_of(self, task: Task) -> Rule | None:
        """Return the rule that limits the task, if any."""
        return None if task.spec.limit is None else self.state.rules.get(task.spec.limit.partition(":")[0])

    def free_slots(self, task: Task) -> int | None:
        """Return how many tasks of the task's partition can be claimed now. ``None``: no limit."""
        rule = self.rule_of(task)
        if rule is None:
            return None
        free = []
        if rule.concurrency is not None:
            free.append(rule.concurrency - sum(not self.has_expired(other) for other in self._claimed_like(task)))
        if rule.rate is not None:
            since = self.now - rule.period
            counted = sum(claimed > since for claimed in self.state.rated.get(task.spec.limit or "", ()))
            free.append(rule.rate - counted)
        return max(0, min(free))

    def has_expired(self, task: Task) -> bool:
        """Return whether the task's claim has expired."""
        return task.state is TaskState.CLAIMED and task.expires is not None and task.expires <= self.now

    def _claimed_like(self, task: Task) -> list[Task]:
        held = (self.state.tasks[key] for key in self.state.held)
        return [other for other in held if other.spec.limit == task.spec.limit]

    def expired_in_the_way(self, chosen: list[Task]) -> list[Task]:
        """Return the tasks whose expired claims must end so that the chosen tasks can be claimed, oldest expiry
        first."""
        keys = {task.key for task in chosen}
        found = []
        for task in {task.spec.limit: task for task in chosen}.values():
            rule = self.rule_of(task)
            if rule is None or rule.concurrency is None:
                continue
            others = [other for other in self._claimed_like(task) if other.key not in keys]
            wanted = len(others) + sum(other.spec.limit == task.spec.limit for other in chosen)
            expired = sorted((other for other in others if self.has_expired(other)), key=_by_expiry)
            found += expired[: max(0, wanted - rule.concurrency)]
        return found

    def count_for_rate(self, task: Task) -> None:
        """Record a claim that starts now, if the rule of the task has a rate."""
        rule = self.rule_of(task)
        if rule is not None and rule.rate is not None and task.spec.limit is not None:
            claims = self.state.rated.get(task.spec.limit, ())
            kept = (claimed for claimed in claims if claimed > self.now - rule.period)
            self.state.rated[task.spec.limit] = (*kept, self.now)

    def remove_limit(self, name: str) -> None:
        if name not in self.state.rules:
            raise NotFoundError(f"There is no limit {name!r}")
        del self.state.rules[name]
        for partition in [partition for partition in self.state.rated if partition.partition(":")[0] == name]:
            del self.state.rated[partition]

    def is_in_progress(self, task: Task) -> bool:
        """Return whether the task's instance is in progress."""
        return self.state.instances[task.instance_id].state is InstanceState.IN_PROGRESS


def _by_expiry(task: Task) -> tuple[int, int]:
    return task.expires or 0, task.seq
