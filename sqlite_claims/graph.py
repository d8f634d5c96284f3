"""Checks of the dependencies among the tasks of one call. The checks use only the arguments, not the store.

The engine checks dependencies on stored tasks. For an unknown dependency, the engine raises the error that
``unknown_dependency`` returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from .errors import InvalidArgumentError
from .model import NewTask
from .task_batch import TaskBatch


def check_graph(tasks: Sequence[NewTask], *, is_whole: bool) -> None:
    """Raise an error if two tasks have the same id, or if dependencies form a cycle.

    ``is_whole``: True if the instance has no other tasks. Then a dependency on any other task is refused, too.
    """
    if isinstance(tasks, TaskBatch):
        return  # such a batch has no dependencies, and was checked when it was made
    waits: dict[str, int] = {}  # for each task, the number of unmet dependencies
    for task in tasks:
        if task.task_id in waits:
            raise InvalidArgumentError(f"tasks contains task_id {task.task_id!r} twice")
        waits[task.task_id] = 0
    dependents: dict[str, list[str]] = {}
    for task in tasks:
        for name in task.depends_on:
            if name in waits:
                dependents.setdefault(name, []).append(task.task_id)
                waits[task.task_id] += 1
            elif is_whole:
                raise unknown_dependency(task.task_id, name)
    if not dependents:
        return
    free = deque(name for name, number in waits.items() if number == 0)
    freed = 0
    while free:
        freed += 1
        for name in dependents.get(free.popleft(), ()):
            waits[name] -= 1
            if waits[name] == 0:
                free.append(name)
    if freed < len(waits):
        raise InvalidArgumentError(f"depends_on makes a cycle: {' -> '.join(_cycle(tasks, waits))}")


def unknown_dependency(task_id: str, name: str) -> InvalidArgumentError:
    """Return the error for a dependency that is neither stored nor among the tasks of the call."""
    return InvalidArgumentError(f"depends_on of task {task_id!r} names {name!r}, which does not exist")


def _cycle(tasks: Sequence[NewTask], waits: dict[str, int]) -> list[str]:
    """Return the names of the tasks in one dependency cycle. The first name is repeated at the end."""
    needs = {
        task.task_id: next(name for name in task.depends_on if waits.get(name)) for task in tasks if waits[task.task_id]
    }
    index: dict[str, int] = {}
    path: list[str] = []
    name = next(iter(needs))
    while name not in index:
        index[name] = len(path)
        path.append(name)
        name = needs[name]
    return [*path[index[name] :], name]
