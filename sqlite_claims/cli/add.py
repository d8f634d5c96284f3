"""``sqlite-claims add``: tasks from lines or from JSON."""

from __future__ import annotations

import io
import os
import select
from collections.abc import Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import chain, islice
from typing import IO, Any

import click

from ..errors import BackendError, InvalidArgumentError, InvalidStateError, NotFoundError, StoreUnavailableError
from ..memory import InMemoryClaimStore
from ..model import NewTask
from ..store import SqliteClaimStore
from .app import database, open_store
from .json_format import new_task
from .map.lines import Counts, line_digest, task_name
from .text import SpanType, clean, tell_of_terminal

_BATCH = 10_000
_BATCH_BYTES = 16 << 20


@click.command("add")
@database
@click.argument("instance")
@click.argument("files", nargs=-1, type=click.File("rb"), metavar="[FILE]...")
@click.option("--json", "as_json", is_flag=True, help="Each line is a JSON object.")
@click.option("--kind", help="Which handler they are for.")
@click.option("--priority", type=click.IntRange(1, 5), help="1 (first) to 5 (last); 3 if not given.")
@click.option("--tag", "tags", multiple=True, help="A worker that has tags needs all of these.")
@click.option("--depends-on", multiple=True, metavar="TASK", help="Not before that task is completed.")
@click.option("--delay", type=SpanType(), help="Not sooner than this after it could start.")
@click.option("--max-attempts", type=click.IntRange(1), help="Failures that end it; 3 if not given.")
@click.option("--max-lost", type=click.IntRange(1), help="Lost claims that end it; 5 if not given.")
@click.option("--definition-hash", default="", help="What the instance's workers may go by; for a new instance.")
@click.option("--skip-existing", is_flag=True, help="Leave tasks that are there already; always so for plain lines.")
def add_command(
    database: str,
    instance: str,
    files: tuple[IO[bytes], ...],
    as_json: bool,
    tags: tuple[str, ...],
    depends_on: tuple[str, ...],
    definition_hash: str,
    skip_existing: bool,
    **options: Any,
) -> None:
    """Add a task to INSTANCE for each line of the FILEs, or of standard input.

    DB and INSTANCE are made where they aren't there. A plain line is its task's input; the task is named after the
    line and its place among equal lines, so that the same lines given again add nothing. Empty lines are skipped.

    With --json a line is an object with task_id and, as wanted, input (a string) or input_base64, kind, depends_on,
    priority, tags, delay (seconds), available_at (ISO 8601 with a zone), max_attempts, max_lost, retry (an object).
    Missing fields default to the options. A line of ls --json adds that task anew. A task that comes before one
    that it depends on is added at the end.

    Every 10,000 tasks are added together, all or none of them.
    """
    defaults = {key: value for key, value in options.items() if value is not None}
    if tags:
        defaults["tags"] = tags
    if depends_on:
        defaults["depends_on"] = depends_on
    if not files:
        tell_of_terminal()
    lines = _lines(files or (open(0, "rb", closefd=False),))  # noqa: SIM115  # not ours to close
    tasks = _in_order(_from_json(lines, defaults), depends_on) if as_json else _from_lines(lines, defaults)
    skip = skip_existing or not as_json
    added = present = 0
    first = next(_batches(tasks), [])
    try:
        opened = open_store(database)
    except StoreUnavailableError:  # what is wrong with the first shows before a store is made
        InMemoryClaimStore().add_instance(instance, first, definition_hash=definition_hash)
        opened = SqliteClaimStore(database)
    with opened as store:
        # The first tasks of one that is there may depend on tasks that it has.
        tasks_of_new = () if _is_stored(store, instance) else first
        is_new, _ = store._add_fed_instance(instance, tasks_of_new, definition_hash=definition_hash)
        if is_new and tasks_of_new:
            added, first = len(first), []
        elif not is_new and definition_hash and store.get_instance(instance).definition_hash != definition_hash:
            raise InvalidStateError(f"instance {instance!r} is there already, with another definition hash")
        try:
            for batch in chain([first] if first else [], _batches(tasks)):
                new = store.add_tasks(instance, batch, if_exists="skip" if skip else "error")
                added += new
                present += len(batch) - new
        except BackendError as error:
            if not added:
                raise
            raise BackendError(f"{error}; {added} tasks were added before") from error
    click.echo(f"{added} added to {clean(instance)}" + (f", {present} were there already" if present else ""))


def _is_stored(store: SqliteClaimStore, instance: str) -> bool:
    try:
        store.get_instance(instance)
    except NotFoundError:
        return False
    return True


def _lines(files: Iterable[IO[bytes]]) -> Iterator[tuple[str, bytes]]:
    """Lines that are not empty, and where each stands."""
    for file in files:
        name = file.name or "standard input"
        try:
            for number, raw in enumerate(io.BufferedReader(_ToItsEnd(file.fileno())), 1):
                line = raw.removesuffix(b"\n").removesuffix(b"\r")
                if line:
                    yield f"{name}, line {number}", line
        except OSError as error:
            raise InvalidArgumentError(f"cannot read {name}: {error.strerror}") from None


class _ToItsEnd(io.RawIOBase):
    """A descriptor that is read until its end, even if another process that shares it has made it non-blocking: Python
    would take an empty pipe for the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                return os.readv(self._descriptor, [buffer])
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._descriptor, select.POLLIN)
                poll.poll()


def _from_lines(lines: Iterable[tuple[str, bytes]], defaults: dict[str, Any]) -> Iterator[NewTask]:
    seen = Counts()
    for _, line in lines:
        digest = line_digest(line)
        yield NewTask(task_name(digest, seen.add(digest)), line, **defaults)


def _from_json(lines: Iterable[tuple[str, bytes]], defaults: dict[str, Any]) -> Iterator[NewTask]:
    for place, line in lines:
        try:
            yield new_task(line, defaults)
        except BackendError as error:
            raise InvalidArgumentError(f"{place}: {error}") from None


def _in_order(tasks: Iterable[NewTask], stored: Collection[str]) -> Iterator[NewTask]:
    """The tasks; those that depend on a later task come at the end. ``stored``: tasks that need not be among them."""
    came = Counts()
    waiting: dict[str, list[NewTask]] = {}
    for task in tasks:
        if all(name in stored or came.get(line_digest(name.encode())) for name in task.depends_on):
            came.add(line_digest(task.task_id.encode()))
            yield task
        else:
            waiting.setdefault(task.task_id, []).append(task)
    needed = {name: [on for task in same for on in task.depends_on if on in waiting] for name, same in waiting.items()}
    try:
        order = list(TopologicalSorter(needed).static_order())
    except CycleError:  # for the store to refuse
        order = list(waiting)
    for name in order:
        yield from waiting[name]


def _batches(tasks: Iterator[NewTask]) -> Iterator[list[NewTask]]:
    """All of ``tasks``, a bounded number and size at a time."""
    while batch := list(islice(tasks, 1)):
        size = len(batch[0].input or b"")
        while len(batch) < _BATCH and size < _BATCH_BYTES:
            task = next(tasks, None)
            if task is None:
                break
            batch.append(task)
            size += len(task.input or b"")
        yield batch
