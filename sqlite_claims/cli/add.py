"""``sqlite-claims add``: add tasks from lines of text or from JSON."""

from __future__ import annotations

import io
import os
import select
from collections.abc import Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, NamedTuple

import click

from .. import opening
from ..errors import BackendError, InvalidArgumentError, InvalidStateError, NotFoundError, StoreUnavailableError
from ..memory import InMemoryClaimStore
from ..model import NewTask
from ..sqlite.store import SqliteClaimStore
from .app import open_store
from .json_format import TaskDefaults, new_task
from .map.lines import Counts, line_digest, task_name
from .options import DurationType, Number, Option, database
from .text import clean, note_terminal_input, plural

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BATCH_TASKS = 10_000
_BATCH_BYTES = 16 << 20


class _InputLine(NamedTuple):
    """A line of input without the line ending. ``location`` is the file and the line number for error messages."""

    location: str
    data: bytes


@click.command("add")
@database
@click.argument("instance")
@click.argument("files", nargs=-1, type=click.File("rb"), metavar="[FILE]...")
@click.option("--json", "as_json", is_flag=True, help="Read a JSON object from each line.")
@click.option("--kind", help="Kind of the tasks, which selects the handler in a worker.")
@click.option(
    "--priority",
    cls=Option,
    metavar="N",
    type=Number(1, 5),
    default=3,
    show_default=True,
    help="1 (first) to 5 (last).",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    help="Tag of the tasks: only workers with this tag, or without tags, take them. May be repeated.",
)
@click.option("--depends-on", multiple=True, metavar="TASK", help="Wait until this task is completed.")
@click.option(
    "--delay", type=DurationType(), help="Wait this long after adding, or after the dependencies are completed."
)
@click.option(
    "--max-attempts",
    cls=Option,
    metavar="N",
    type=Number(1),
    default=3,
    show_default=True,
    help="Give up after this many failures.",
)
@click.option(
    "--max-lost",
    cls=Option,
    metavar="N",
    type=Number(1),
    default=5,
    show_default=True,
    help="Give up after this many lost claims (a worker died or was too slow).",
)
@click.option("--limit", metavar="NAME[:PART]", help="Limit that the tasks count against. See the command limit.")
@click.option(
    "--definition-hash",
    metavar="TEXT",
    default="",
    help="Version of the workflow, in your own notation; stored with a new instance.",
)
@click.option("--skip-existing", is_flag=True, help="Skip tasks that already exist (always on for plain lines).")
def add_command(
    database: str,
    instance: str,
    files: tuple[IO[bytes], ...],
    as_json: bool,
    kind: str | None,
    priority: int,
    tags: tuple[str, ...],
    depends_on: tuple[str, ...],
    delay: float | None,
    max_attempts: int,
    max_lost: int,
    limit: str | None,
    definition_hash: str,
    skip_existing: bool,
) -> None:
    """Add tasks to the queue: one task of INSTANCE for each line of the FILEs, or of standard input.

    \b
        seq 10 | sqlite-claims add jobs.db night --kind resize

    DB and INSTANCE are created if they do not exist. Empty lines are skipped. A plain line is the input of its task.
    The task's name is derived from the line. Duplicate lines get different names, so they are separate tasks. If the
    same lines are added again, no task is added.

    With --json, each line is an object with "task_id" and, optionally, "input" (a string) or "input_base64", "kind",
    "depends_on", "priority", "tags", "delay" (seconds), "available_at" (ISO 8601 with a time zone), "max_attempts",
    "max_lost", "limit" and "retry" (an object). For missing fields, the options of this command apply. Lines written by
    "ls --json" are added as new tasks, without their state and results. A task may come before its dependencies.

    Tasks are added in batches of up to 10,000. Each batch is added completely or not at all.
    """
    defaults = TaskDefaults(
        kind=kind,
        priority=priority,
        tags=tags,
        depends_on=depends_on,
        delay=delay,
        max_attempts=max_attempts,
        max_lost=max_lost,
        limit=limit,
    )
    if not files:
        note_terminal_input()
    lines = _lines(files or (open(0, "rb", closefd=False),))  # noqa: SIM115  # standard input stays open
    tasks = _dependents_last(_from_json(lines, defaults), depends_on) if as_json else _from_lines(lines, defaults)
    skip = skip_existing or not as_json
    added = present = 0
    first = next(_batches(tasks), [])
    try:
        opened = open_store(database)
    except StoreUnavailableError:  # there is no file yet, so check the first tasks before creating the file
        InMemoryClaimStore().add_instance(instance, first, definition_hash=definition_hash)
        opened = opening.open_store(database)
    with opened as store:
        # _add_fed_instance refuses dependencies on stored tasks. So if the instance is stored, add_tasks adds all
        # tasks.
        tasks_of_new = () if _is_stored(store, instance) else first
        is_new, _ = store._add_fed_instance(instance, tasks_of_new, definition_hash=definition_hash)
        if is_new and tasks_of_new:
            added, first = len(first), []
        elif not is_new and definition_hash and store.get_instance(instance).definition_hash != definition_hash:
            raise InvalidStateError(f"instance {instance!r} already exists, with a different definition hash")
        try:
            for batch in chain([first] if first else [], _batches(tasks)):
                new = store.add_tasks(instance, batch, if_exists="skip" if skip else "error")
                added += new
                present += len(batch) - new
        except BackendError as error:
            if not added:
                raise
            raise BackendError(f"{error}; {plural(added, 'task')} added before") from error
    click.echo(
        f"{plural(added, 'task')} added to {clean(instance)}" + (f", {present} already existed" if present else "")
    )


def _is_stored(store: SqliteClaimStore, instance: str) -> bool:
    try:
        store.get_instance(instance)
    except NotFoundError:
        return False
    return True


def _lines(files: Iterable[IO[bytes]]) -> Iterator[_InputLine]:
    """Yield all lines of the files except empty lines."""
    for file in files:
        name = file.name or "standard input"
        try:
            for number, raw in enumerate(io.BufferedReader(_BlockingReader(file.fileno())), 1):
                line = raw.removesuffix(b"\n").removesuffix(b"\r")
                if line:
                    yield _InputLine(f"{name}, line {number}", line)
        except OSError as error:
            raise InvalidArgumentError(f"cannot read {name}: {error.strerror}") from None


class _BlockingReader(io.RawIOBase):
    """A reader that reads to the end of the input, even if a different process made the shared descriptor
    non-blocking.

    Python's own reader would treat a non-blocking pipe that is empty for a moment as the end of the input.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while True:
            try:
                return os.readv(self._descriptor, [buffer])
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._descriptor, select.POLLIN)
                poll.poll()


def _from_lines(lines: Iterable[_InputLine], defaults: TaskDefaults) -> Iterator[NewTask]:
    occurrences = Counts()
    for line in lines:
        digest = line_digest(line.data)
        yield NewTask(task_name(digest, occurrences.add(digest)), line.data, **defaults)


def _from_json(lines: Iterable[_InputLine], defaults: TaskDefaults) -> Iterator[NewTask]:
    for line in lines:
        try:
            yield new_task(line.data, defaults)
        except BackendError as error:
            raise InvalidArgumentError(f"{line.location}: {error}") from None


def _dependents_last(tasks: Iterable[NewTask], stored: Collection[str]) -> Iterator[NewTask]:
    """Yield all tasks. A task that comes before one of its dependencies is yielded at the end, after its dependencies.

    Args:
        tasks: Tasks in any order.
        stored: Names of tasks that the store is assumed to contain, so that ``tasks`` need not contain these tasks.
    """
    yielded = Counts()
    waiting: dict[str, list[NewTask]] = {}
    for task in tasks:
        if all(name in stored or yielded.get(line_digest(name.encode())) for name in task.depends_on):
            yielded.add(line_digest(task.task_id.encode()))
            yield task
        else:
            waiting.setdefault(task.task_id, []).append(task)
    needed = {name: [on for task in same for on in task.depends_on if on in waiting] for name, same in waiting.items()}
    try:
        order = list(TopologicalSorter(needed).static_order())
    except CycleError:  # the store will report the cycle
        order = list(waiting)
    for name in order:
        yield from waiting[name]


def _batches(tasks: Iterator[NewTask]) -> Iterator[list[NewTask]]:
    """Yield batches of at most ``_BATCH_TASKS`` tasks, with about ``_BATCH_BYTES`` bytes of input at most."""
    while batch := list(islice(tasks, 1)):
        size = len(batch[0].input or b"")
        while len(batch) < _BATCH_TASKS and size < _BATCH_BYTES:
            task = next(tasks, None)
            if task is None:
                break
            batch.append(task)
            size += len(task.input or b"")
        yield batch
