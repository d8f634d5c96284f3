"""A checker of the logs of processes that claim tasks with a limit. See ``limit_worker.py``.

The checker knows two intervals for each claim: an inner interval, during which the task certainly had a claim, and an
outer interval, outside of which the task certainly had no claim. A limit was broken if more inner intervals of a
partition overlap than the limit permits. A slot was idle if a call returned fewer tasks than it asked for, although
during the whole call the outer intervals left a slot free, and a task of the partition waited.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The time in which a search detects that a worker's process has died, with a reserve for a busy machine.
NOTICED_NS = 3_000_000_000


@dataclass(slots=True)
class Outcome:
    """The result of a check."""

    faults: list[str] = field(default_factory=list)
    claims: int = 0
    short_calls: int = 0  # calls that returned fewer tasks than they asked for
    fullest: Counter[str] = field(default_factory=Counter)  # the largest number of overlapping claims by partition


@dataclass(slots=True)
class _Partition:
    """The state of a partition at one moment."""

    concurrency: int
    inner: int = 0
    outer: int = 0
    waiting: int = 0

    @property
    def may_be_idle(self) -> bool:
        """True if a slot is certainly free, and a task certainly waits."""
        return self.outer < self.concurrency and self.waiting > 0


def check(
    logs: Iterable[Path],
    tasks: dict[tuple[str, str], str],
    rules: dict[str, int],
    *,
    killed: dict[Path, tuple[int, int]],
    cancelled: dict[str, tuple[int, int]],
) -> Outcome:
    """Check the logs.

    Args:
        logs: The logs of the processes.
        tasks: The partition of each task.
        rules: The concurrency of each partition.
        killed: For each log of a killed process, the times before and after its death.
        cancelled: For each cancelled instance, the times before and after the call.
    """
    outcome = Outcome()
    events = [event for number, log in enumerate(logs) for event in _events_of(log, number, killed, cancelled, outcome)]
    events += [(before, 0, "cancel", instance) for instance, (before, _) in cancelled.items()]
    timeline = _Timeline(tasks, rules, outcome)
    for at, _, action, subject in sorted(events, key=lambda event: event[:2]):
        timeline.apply(at, action, subject)
    return outcome


class _Timeline:
    """The partitions at one moment, and the calls that run at this moment."""

    def __init__(self, tasks: dict[tuple[str, str], str], rules: dict[str, int], outcome: Outcome) -> None:
        self._tasks = tasks
        self._outcome = outcome
        self._partitions = {name: _Partition(concurrency) for name, concurrency in rules.items()}
        self._waiting_in: dict[str, Counter[str]] = defaultdict(Counter)  # waiting tasks by instance and partition
        self._cancelled: set[str] = set()
        # For each running call that returns too few tasks: the partitions that may have an idle slot.
        self._calls: dict[Any, set[str]] = {}
        for (instance, _), name in tasks.items():
            self._wait(instance, name, 1)

    def apply(self, at: int, action: str, subject: Any) -> None:
        """Apply the next event."""
        if action == "call":
            self._calls[subject] = {name for name, one in self._partitions.items() if one.may_be_idle}
        elif action == "return":
            self._outcome.faults += [f"{name}: idle during a call until {at}" for name in self._calls.pop(subject)]
        elif action == "cancel":
            for name, number in list(self._waiting_in[subject].items()):
                self._wait(subject, name, -number)
            self._cancelled.add(subject)
        else:
            self._change(at, action, subject)

    def _change(self, at: int, action: str, task: tuple[str, str]) -> None:
        name = self._tasks[task]
        one = self._partitions[name]
        if action == "inner begin":
            one.inner += 1
            self._outcome.fullest[name] = max(self._outcome.fullest[name], one.inner)
            if one.inner > one.concurrency:
                self._outcome.faults.append(f"{name}: {one.inner} tasks ran at {at}, among them {task}")
        elif action == "inner end":
            one.inner -= 1
        elif action == "outer begin":
            one.outer += 1
            self._wait(task[0], name, -1)
        else:
            one.outer -= 1
            if action == "outer end, waits":
                self._wait(task[0], name, 1)
        if not one.may_be_idle:
            self._excuse(name)

    def _wait(self, instance: str, name: str, number: int) -> None:
        """Add to the number of waiting tasks. A cancelled instance has no waiting tasks."""
        if instance not in self._cancelled:
            self._partitions[name].waiting += number
            self._waiting_in[instance][name] += number
            if not self._partitions[name].may_be_idle:
                self._excuse(name)

    def _excuse(self, name: str) -> None:
        for candidates in self._calls.values():
            candidates.discard(name)


def claim_times(logs: Iterable[Path], tasks: dict[tuple[str, str], str]) -> dict[str, list[tuple[int, int]]]:
    """Return, for each partition, the times before and after the call of each claim, sorted."""
    times: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for log in logs:
        for kind, at, *rest in map(json.loads, log.read_text().splitlines()):
            if kind == "claim":
                for instance, task in rest[2]:
                    times[tasks[instance, task]].append((at, rest[0]))
    return {name: sorted(claims) for name, claims in times.items()}


def _events_of(
    log: Path,
    number: int,
    killed_logs: dict[Path, tuple[int, int]],
    cancelled: dict[str, tuple[int, int]],
    outcome: Outcome,
) -> list[tuple[int, int, str, Any]]:
    events: list[tuple[int, int, str, Any]] = []
    held: dict[tuple[str, str], int] = {}  # the time at which the claim was returned
    settling: dict[tuple[str, str], tuple[int, str]] = {}

    def ended(task: tuple[str, str], inner_end: int, outer_end: int, *, waits: bool) -> None:
        began = held.pop(task)
        if (cancel := cancelled.get(task[0])) is not None:
            inner_end, outer_end = min(inner_end, cancel[0]), min(outer_end, cancel[1])
        if began < inner_end:
            events.append((began, 1, "inner begin", task))
            events.append((inner_end, 0, "inner end", task))
        events.append((max(outer_end, began), 2, "outer end, waits" if waits else "outer end", task))

    lines = log.read_text().splitlines() if log.exists() else []
    for line in lines:
        try:
            kind, at, *rest = json.loads(line)
        except ValueError:
            continue  # the process was killed within the line
        if kind == "claim":
            returned, wanted, claimed = rest
            outcome.claims += len(claimed)
            if len(claimed) < wanted:
                outcome.short_calls += 1
                events.append((at, 3, "call", (number, at)))
                events.append((returned, 0, "return", (number, at)))
            for instance, task in claimed:
                events.append((at, 1, "outer begin", (instance, task)))
                held[instance, task] = returned
        elif kind == "settle":
            settling[rest[1], rest[2]] = at, rest[0]
        elif kind == "settled":
            task = rest[1], rest[2]
            began, _ = settling.pop(task)
            # A task whose claim was lost waits again, or was cancelled.
            ended(task, began, at, waits=rest[0] in ("fail", "release", "lost"))
    before, after = killed_logs.get(log, (2**62, 2**62))
    for task in list(held):
        began, how = settling.get(task, (before, ""))
        ended(task, min(began, before), after + NOTICED_NS, waits=how != "complete")
    return events
