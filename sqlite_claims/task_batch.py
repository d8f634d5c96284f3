"""``TaskBatch``: many tasks with the same options."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Self, overload

from . import validate
from .errors import InvalidArgumentError
from .model import NewTask


class TaskBatch(Sequence[NewTask]):
    """Many tasks that differ only in their names and inputs. ``add_instance`` and ``add_tasks`` take a ``TaskBatch`` in
    place of a collection of ``NewTask``, and need no record for each task.

    Args:
        task_ids: The names of the tasks, as a sequence, at most 100,000.
        inputs: The inputs of the tasks, as a sequence of the same length. An input of ``None`` is the output of the
            task's only dependency, or ``b""``. ``None`` in place of the sequence: no task has an input.
        options: The options of ``NewTask``, which apply to all tasks.

    Raises:
        InvalidArgumentError: The sequences have different lengths, a name occurs twice, an option is wrong, or
            ``unique_key`` is given for more than one task.
        TypeError: An option is unknown.
    """

    __slots__ = ("inputs", "task_ids", "template")

    task_ids: list[str]
    inputs: list[bytes | None] | None
    template: NewTask
    """The first task, without its input."""

    def __init__(self, task_ids: Sequence[str], inputs: Sequence[bytes | None] | None = None, **options: Any) -> None:
        self.task_ids = _checked_ids(task_ids)
        self.inputs = None if inputs is None else _checked_inputs(inputs, len(self.task_ids))
        first = self.task_ids[0] if self.task_ids else "task"
        self.template = NewTask(first, **options)
        if self.template.unique_key is not None and len(self.task_ids) > 1:
            raise InvalidArgumentError("unique_key can't be the same for several tasks; give it to one task only")
        if not set(self.task_ids).isdisjoint(self.template.depends_on):
            raise InvalidArgumentError("depends_on names a task of the batch itself")

    def __len__(self) -> int:
        return len(self.task_ids)

    @overload
    def __getitem__(self, index: int) -> NewTask: ...

    @overload
    def __getitem__(self, index: slice) -> list[NewTask]: ...

    def __getitem__(self, index: int | slice) -> NewTask | list[NewTask]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        data = None if self.inputs is None else self.inputs[index]
        return replace(self.template, task_id=self.task_ids[index], input=data)

    def __repr__(self) -> str:
        return f"TaskBatch of {len(self):,} tasks"

    def without(self, names: Collection[str]) -> Self:
        """Return the batch without the tasks with these names."""
        kept = [number for number, name in enumerate(self.task_ids) if name not in names]
        batch = object.__new__(type(self))
        batch.task_ids = [self.task_ids[number] for number in kept]
        batch.inputs = None if self.inputs is None else [self.inputs[number] for number in kept]
        batch.template = self.template
        return batch


def _checked_ids(values: object) -> list[str]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise InvalidArgumentError(f"task_ids must be a sequence of str, not {validate.shown(values)}")
    if len(values) > validate.TASKS_PER_CALL_MAX:
        raise InvalidArgumentError(f"task_ids has more than {validate.TASKS_PER_CALL_MAX:,}; add them in several calls")
    checked = [validate.name("each of task_ids", value) for value in values]
    seen: set[str] = set()
    if len(set(checked)) < len(checked):
        twice = next(name for name in checked if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidArgumentError(f"task_ids contains {twice!r} twice")
    return checked


def _checked_inputs(values: object, number: int) -> list[bytes | None]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise InvalidArgumentError(f"inputs must be a sequence of bytes, not {validate.shown(values)}")
    if len(values) != number:
        raise InvalidArgumentError(f"inputs has {len(values):,} items, but task_ids has {number:,}")
    return [None if value is None else validate.data("each of inputs", value) for value in values]
