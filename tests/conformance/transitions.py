"""The state transitions in the diagrams of docs/state-machine.md, and the state transitions that the tests observe in a
store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"
_ARROW = re.compile(r"^ +(\S+) --> (\S+?)(?::|$)", re.MULTILINE)
NOWHERE = "[*]"

Transitions = set[tuple[str, str]]


def drawn() -> tuple[Transitions, Transitions]:
    """Return the arrows of the two diagrams, for tasks and for instances, without the arrows to the end marker."""
    tasks, instances = re.findall(r"^```mermaid\n(.*?)^```", _PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return _arrows(tasks), _arrows(instances)


def _arrows(diagram: str) -> Transitions:
    return {(before, after) for before, after in _ARROW.findall(diagram) if after != NOWHERE}


class Watch:
    """Read a store repeatedly, and record the state transitions of its tasks and instances. The caller may make at most
    one operation between two readings."""

    def __init__(self) -> None:
        self.tasks: Transitions = set()
        self.instances: Transitions = set()
        self._seen: dict[Any, tuple[str, int | None]] = {}

    def begin(self) -> None:
        """From now on, record the transitions of the given store instead."""
        self._seen = {}

    def look(self, store: Any) -> None:
        now: dict[Any, tuple[str, int | None]] = {}
        for task in store.list_tasks():
            token = None if task.claim is None else task.claim.token
            now[task.instance_id, task.task_id] = str(task.state), token
        for instance in store.list_instances():
            now[instance.instance_id] = str(instance.state), None
        for key, (state, token) in now.items():
            before, old_token = self._seen.get(key, (NOWHERE, None))
            if (before, state) == (NOWHERE, "claimed"):
                # One call can add the task of a schedule's tick, and claim the task.
                self.tasks |= {(NOWHERE, "ready"), ("ready", "claimed")}
            elif (before, old_token) != (state, token):
                (self.instances if isinstance(key, str) else self.tasks).add((before, state))
        self._seen = now
