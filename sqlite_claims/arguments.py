"""Checks of the records and collections that callers pass to a store. ``validate`` checks single values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar

from . import validate
from .errors import InvalidArgumentError
from .model import NewTask, TaskClaim
from .task_batch import TaskBatch

T = TypeVar("T")
FAILURE_OPTIONS: Final = frozenset({"retry", "retry_in", "detail", "timed_out"})
"""The keyword arguments of ``fail_task``, which each tuple that ``fail_tasks`` takes may contain."""
_ENQUEUE_OPTIONS = {field.name for field in fields(NewTask)} - {"task_id", "input", "kind", "depends_on"}


def claim(argument: str, value: object) -> TaskClaim:
    """Check that a value is a ``TaskClaim``.

    A claim without a ``_row`` may have been made by the caller, so its fields are checked, too.

    The engine checks the fields of a claim with a ``_row``, but only if the claim does not match the stored row.
    """
    if not isinstance(value, TaskClaim):
        raise InvalidArgumentError(f"{argument} must be a TaskClaim, not {validate.shown(value)}")
    if not value._row:
        claim_names(value)
        if not isinstance(value.token, int):
            raise InvalidArgumentError(f"claim.token must be an int, not {validate.shown(value.token)}")
    return value


def claim_names(claim: TaskClaim) -> tuple[str, str]:
    """Check the instance name and the task name of a claim, and return the two names."""
    return validate.name("claim.instance_id", claim.instance_id), validate.name("claim.task_id", claim.task_id)


def claims(values: object) -> list[TaskClaim]:
    """Check a collection of claims, and return the claims as a list."""
    if not isinstance(values, Iterable):
        raise InvalidArgumentError(f"claims must be a collection of TaskClaim, not {validate.shown(values)}")
    return [claim("each of claims", value) for value in values]


def pairs(argument: str, part: str, values: object, check: Callable[[str, object], T]) -> list[tuple[TaskClaim, T]]:
    """Check a collection of pairs. The first part of a pair is a claim; ``check`` checks the second part."""
    if not isinstance(values, Iterable):
        raise InvalidArgumentError(
            f"{argument} must be pairs of a TaskClaim and its {part}, not {validate.shown(values)}"
        )
    checked = []
    for pair in values:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InvalidArgumentError(
                f"each of {argument} must be a pair of a TaskClaim and its {part}, not {validate.shown(pair)}"
            )
        checked.append((claim(f"each of {argument}", pair[0]), check(f"{part} of each of {argument}", pair[1])))
    return checked


def failures(values: object) -> Iterator[tuple[TaskClaim, object, dict[str, Any]]]:
    """Check the argument of ``fail_tasks``, and yield each claim with its error and the options of its failure."""
    if not isinstance(values, Iterable):
        raise InvalidArgumentError(
            f"failures must be tuples of a TaskClaim and its error, not {validate.shown(values)}"
        )
    for value in values:
        if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
            raise InvalidArgumentError(
                "each of failures must be a tuple of a TaskClaim, its error and, optionally, a mapping of options, "
                f"not {validate.shown(value)}"
            )
        options = value[2] if len(value) == 3 else {}
        if not isinstance(options, Mapping) or not FAILURE_OPTIONS.issuperset(options):
            raise InvalidArgumentError(
                f"the options of each of failures must be a mapping with keys among {sorted(FAILURE_OPTIONS)}, "
                f"not {validate.shown(options)}"
            )
        yield claim("each of failures", value[0]), value[1], dict(options)


def refs(values: object) -> list[tuple[str, str]]:
    """Check a collection of pairs of the names of an instance and a task, and return a list of the pairs."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"refs must be pairs of an instance_id and a task_id, not {validate.shown(values)}")
    checked = []
    for value in values:
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise InvalidArgumentError(
                f"each of refs must be a pair of an instance_id and a task_id, not {validate.shown(value)}"
            )
        checked.append(
            (validate.name("instance_id of each of refs", value[0]), validate.name("task_id of each of refs", value[1]))
        )
    return checked


def tasks(values: object) -> Sequence[NewTask]:
    """Check a collection of new tasks, and return a list or a ``TaskBatch``. Raise an error for more tasks than one
    call may add.

    In a ``TaskBatch`` that is returned, no task has dependencies or a unique key.
    """
    if isinstance(values, TaskBatch) and not values.template.depends_on and values.template.unique_key is None:
        return values
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"tasks must be a collection of NewTask, not {validate.shown(values)}")
    checked: list[NewTask] = []
    for value in values:
        if not isinstance(value, NewTask):
            raise InvalidArgumentError(f"each of tasks must be a NewTask, not {validate.shown(value)}")
        checked.append(value)
        if len(checked) > validate.TASKS_PER_CALL_MAX:
            raise InvalidArgumentError(
                f"tasks has more than {validate.TASKS_PER_CALL_MAX:,}; add them in several calls"
            )
    return checked


def enqueue_options(options: Mapping[str, object]) -> None:
    """Check the names of the options of ``enqueue``."""
    if "depends_on" in options:
        raise InvalidArgumentError("depends_on can't be given to enqueue, because the instance has only one task")
    if unknown := options.keys() - _ENQUEUE_OPTIONS:
        raise TypeError(f"enqueue got an unknown option {min(unknown)!r}; see the arguments of NewTask")


def skips_existing(if_exists: object) -> bool:
    """Check the argument ``if_exists``, and return whether existing instances or tasks are skipped."""
    if if_exists not in ("error", "skip"):
        raise InvalidArgumentError(f"if_exists must be 'error' or 'skip', not {validate.shown(if_exists)}")
    return if_exists == "skip"
