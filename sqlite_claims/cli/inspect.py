"""``sqlite-claims status``, ``ls`` and ``show``: print the contents of a store, as text or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import islice

import click

from ..model import InstanceInfo, TaskInfo, TaskState
from ..sqlite.store import SqliteClaimStore
from .app import open_store
from .instances import INSTANCE_COLUMNS, OPEN_STATES, find_instance, find_task, instance_cells
from .json_format import counts_entry, instance_entry, schedule_entry, task_entry, worker_entry
from .map.lines import is_map_task
from .options import ROW_COUNT, Option, database, json_option
from .schedule import late_ticks
from .text import (
    Column,
    clean,
    clean_bytes,
    format_counts,
    format_duration,
    format_oldest_ready,
    format_time,
    plain_console,
    print_table,
)

_PREVIEW_CHARACTERS = 60
_TABLE_ROWS = 100
_DETAIL_CHARACTERS = 2000
_TASK_COLUMNS = [
    Column("INSTANCE", "cut"),
    Column("TASK", "cut"),
    Column("STATE"),
    Column("KIND", "cut"),
    Column("PRIORITY"),
    Column("ATTEMPTS"),
    Column("WORKER", "cut"),
    Column("INPUT", "cut"),
    Column("ERROR", "cut"),
]
# A task of map is named after the hash of its line. On a terminal, a table shows at least so many characters of the
# name.
_SHORT_NAME_CHARACTERS = 8
_DEFAULT_PRIORITY = "3"
_MORE_ROWS = "there are more; --max 0 shows all"


@click.command("status")
@database
@json_option
@click.option("-a", "--all", "include_ended", is_flag=True, help="Include finished instances.")
@click.option(
    "--max",
    "max_rows",
    cls=Option,
    aliases=["--limit"],
    metavar="N",
    type=ROW_COUNT,
    default=50,
    show_default=True,
    help="Maximum number of instances; 0: no limit.",
)
def status_command(database: str, as_json: bool, include_ended: bool, max_rows: int) -> None:
    """Show how many tasks are in each state, the instances in progress, and the workers."""
    with open_store(database, read_only=True) as store:
        stats = store.stats()
        all_instances = store.list_instances(states=None if include_ended else OPEN_STATES)
        instances = list(islice(all_instances, max_rows or None))
        has_more = next(all_instances, None) is not None
        workers = [worker for worker in store.list_workers() if worker.alive]
        schedules = store.list_schedules()
    if as_json:
        entry = {
            "counts": counts_entry(stats.counts),
            "live_claims": stats.live_claims,
            "oldest_ready_age": stats.oldest_ready_age,
            "instances": [instance_entry(instance) for instance in instances],
            "workers": [worker_entry(worker) for worker in workers],
            "schedules": [schedule_entry(schedule) for schedule in schedules],
        }
        click.echo(json.dumps(entry, indent=2))
        return
    click.echo(format_counts(stats.counts))
    click.echo(f"live claims: {stats.live_claims}; {format_oldest_ready(stats)}")
    for sentence in late_ticks(schedules):
        click.echo(clean(sentence))
    if instances:
        click.echo()
        print_table(INSTANCE_COLUMNS, map(instance_cells, instances))
        if has_more:
            click.echo(_MORE_ROWS)
    if workers:
        click.echo()
        rows = [[clean(w.worker_id), str(w.pid), format_time(w.started_at), str(w.claims)] for w in workers]
        print_table([Column("WORKER", "cut"), Column("PID"), Column("STARTED"), Column("CLAIMS")], rows)


@click.command("ls")
@database
@click.argument("instance", required=False)
@click.option("--instance", "instance_option", hidden=True)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in TaskState]),
    help="Only tasks in this state. May be repeated.",
)
@click.option("--kind", "kinds", multiple=True, help="Only tasks of this kind. May be repeated.")
@click.option(
    "--max",
    "max_rows",
    cls=Option,
    aliases=["--limit"],
    metavar="N",
    type=ROW_COUNT,
    show_default=f"{_TABLE_ROWS}; with --json no limit",
    help="Maximum number of tasks; 0: no limit.",
)
@json_option
def ls_command(
    database: str,
    instance: str | None,
    instance_option: str | None,
    states: tuple[str, ...],
    kinds: tuple[str, ...],
    max_rows: int | None,
    as_json: bool,
) -> None:
    """List the tasks of INSTANCE, or of all instances. INSTANCE may be the beginning of a name, if no other name begins
    with it.

    \b
        sqlite-claims ls jobs.db night --state failed --state cancelled

    With --json, each task is printed as a JSON object on one line. "add --json" can read these lines.
    """
    if instance is not None and instance_option is not None:
        raise click.UsageError("Give the instance only once, as an argument or with --instance.")
    if max_rows is None:
        max_rows = 0 if as_json else _TABLE_ROWS
    instance = instance_option if instance is None else instance
    with open_store(database, read_only=True) as store:
        if instance is not None:
            instance = find_instance(store, instance)
        tasks = store.list_tasks(
            instance,
            states=[TaskState(state) for state in states] or None,
            kinds=kinds or None,
            limit=max_rows + 1 if max_rows else None,
        )
        shown = islice(tasks, max_rows or None)
        if as_json:
            for task in shown:
                click.echo(json.dumps(task_entry(task)))
            return
        rows = [_task_row(task) for task in shown]
        print_table(_TASK_COLUMNS, shorter_rows(rows, instance) if plain_console().is_terminal else rows)
        if next(tasks, None) is not None:
            click.echo(_MORE_ROWS)


def _task_row(task: TaskInfo) -> list[str]:
    return [
        clean(task.instance_id),
        clean(task.task_id),
        task.state.value,
        clean(task.kind),
        str(task.priority),
        str(task.attempts),
        clean(task.worker_id or ""),
        clean_bytes(task.input, width=_PREVIEW_CHARACTERS),
        clean((task.error or "").partition("\n")[0], width=_PREVIEW_CHARACTERS),
    ]


def shorter_rows(rows: list[list[str]], instance: str | None) -> list[list[str]]:
    """Shorten the rows of the table of tasks for a terminal.

    The function empties cells that say nothing: the instance that the user has named, a kind that repeats the name of
    the instance, the default priority, and no attempts. A column whose cells are all empty is left out. Names that
    ``map`` has made become prefixes that differ from the names in all other rows.
    """
    names = [row[1] for row in rows if is_map_task(row[1])]
    length = next(
        n for n in range(_SHORT_NAME_CHARACTERS, 1000) if len({name[:n] for name in names}) == len(set(names))
    )
    return [
        [
            "" if name == instance else name,
            task[:length] if is_map_task(task) else task,
            state,
            "" if kind == name else kind,
            "" if priority == _DEFAULT_PRIORITY else priority,
            "" if attempts == "0" else attempts,
            *rest,
        ]
        for name, task, state, kind, priority, attempts, *rest in rows
    ]


@click.command("show")
@database
@click.argument("instance")
@click.argument("task", required=False)
@json_option
def show_command(database: str, instance: str, task: str | None, as_json: bool) -> None:
    """Show all details of INSTANCE, or of one TASK of INSTANCE.

    INSTANCE and TASK may be the beginning of a name, if no other name begins with it. The details of a task include
    the input, the output, the error, and a sentence that explains why the task is not running.
    """
    with open_store(database, read_only=True) as store:
        instance = find_instance(store, instance)
        if task is None:
            _show_instance(store.get_instance(instance), as_json)
        else:
            _show_task(store, instance, find_task(store, instance, task), as_json)


def _show_instance(info: InstanceInfo, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(instance_entry(info), indent=2))
        return
    _print_pairs(
        ("instance", clean(info.instance_id)),
        ("state", info.state.value),
        ("tasks", format_counts(info.counts)),
        ("definition", clean(info.definition_hash)),
        ("reason", clean(info.reason or "")),
        ("added", format_time(info.added_at)),
        ("finished", format_time(info.finished_at)),
    )


def _show_task(store: SqliteClaimStore, instance: str, task: str, as_json: bool) -> None:
    info = store.get_task(instance, task)
    explanation = store.explain_task(instance, task)
    if as_json:
        click.echo(json.dumps({**task_entry(info), "explanation": explanation}, indent=2))
        return
    took = ""
    if info.started_at is not None and (info.finished_at or info.claim):
        took = format_duration(((info.finished_at or datetime.now(UTC)) - info.started_at).total_seconds())
    _print_pairs(
        ("task", f"{clean(info.task_id)} of {clean(info.instance_id)}"),
        ("state", info.state.value),
        ("why", clean(explanation)),
        ("kind", clean(info.kind)),
        ("priority", str(info.priority)),
        ("tags", clean(" ".join(info.tags))),
        ("depends on", clean(" ".join(info.depends_on))),
        ("unique key", clean(info.unique_key or "")),
        ("limit", clean(info.limit or "")),
        ("metadata", clean(" ".join(f"{key}={value}" for key, value in info.metadata.items()))),
        ("timeout", "" if info.timeout is None else format_duration(info.timeout)),
        ("expires", format_time(info.expires_at)),
        ("attempts", f"{info.attempts}, {info.failures} failed, {info.losses} lost"),
        ("worker", clean(info.worker_id or "")),
        ("added", format_time(info.added_at)),
        ("started", format_time(info.started_at)),
        ("finished", format_time(info.finished_at)),
        ("took", took),
        ("input", clean_bytes(info.input, width=_DETAIL_CHARACTERS)),
        ("output", clean_bytes(info.output or b"", width=_DETAIL_CHARACTERS)),
        ("error", "\n".join(clean(line) for line in (info.error or "").splitlines())),
    )


def _print_pairs(*pairs: tuple[str, str]) -> None:
    """Print the pairs that have a value, one per line."""
    width = max(len(name) for name, _ in pairs) + 2
    for name, value in pairs:
        if value:
            click.echo(f"{name + ':':{width}}" + value.replace("\n", "\n" + " " * width))
