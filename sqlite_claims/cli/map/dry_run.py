"""``--dry-run``: print the commands that a run would start, without starting them and without writing to the store."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from ...errors import NotFoundError
from ...model import TaskState
from ...opening import open_store
from ...sqlite.store import SqliteClaimStore
from .lines import Counts, Line, LineSource, task_name
from .numbers import TaskNumbers
from .plan import Plan, check_instance
from .template import UnusableLineError

_LINES_PER_STEP = 300


def print_commands(database: str, plan: Plan, source: LineSource) -> None:
    """Print the command of each line that is not done, in the order of the input.

    Args:
        database: The path of the store. The file may be missing.
        plan: The settings of the run.
        source: The lines.
    """
    if not os.path.exists(database):
        _print(plan, source, None)
        return
    with open_store(database, create=False, read_only=True) as store:
        try:
            check_instance(store.get_instance(plan.instance_id), plan)
        except NotFoundError:
            _print(plan, source, None)
        else:
            _print(plan, source, store)


def _print(plan: Plan, source: LineSource, store: SqliteClaimStore | None) -> None:
    occurrences, started, added = Counts(), 0, 0
    numbers = TaskNumbers(store, plan.instance_id) if store is not None and plan.needs_numbers else None
    count_before = 0 if numbers is None else sum(1 for _ in numbers.read())
    for line in _lines(source):
        plan.template.check_line(line.data)
        name = task_name(line.digest, occurrences.add(line.digest))
        state = None if store is None else _state(store, plan.instance_id, name)
        added += state is None
        if state in (TaskState.COMPLETED, TaskState.CANCELLED):
            continue
        number = count_before + added if numbers is None or state is None else numbers.get(name)
        try:
            command = plan.template.command_line(line.data, number=number, slot=1 + started % plan.jobs)
        except UnusableLineError:
            continue
        started += 1
        tag = plan.template.tag(line.data) + b"\t" if plan.tag else b""
        click.echo(tag + command)


def _lines(source: LineSource) -> Iterator[Line]:
    while not source.at_end:
        yield from source.take(_LINES_PER_STEP)


def _state(store: SqliteClaimStore, instance_id: str, task_id: str) -> TaskState | None:
    try:
        return store.get_task(instance_id, task_id).state
    except NotFoundError:
        return None
