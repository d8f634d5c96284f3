"""``sqlite-claims status``, ``ls`` and ``show``: what is in a store, for people and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import islice

import click

from ..model import InstanceInfo, InstanceState, TaskInfo, TaskState
from ..store import SqliteClaimStore
from .app import database, open_store
from .json_format import counts_entry, instance_entry, task_entry, worker_entry
from .text import COUNT, clean, clean_bytes, counts_text, moment, print_table, span

_OPEN = (InstanceState.IN_PROGRESS, InstanceState.PAUSED)
_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
_PREVIEW = 60
_ROWS = 100


@click.command("status")
@database
@_JSON_OPTION
@click.option("-a", "--all", "everything", is_flag=True, help="Instances that have ended, too.")
@click.option("--limit", type=COUNT, default=50, show_default=True, help="Instances to show; 0 is all.")
def status_command(database: str, as_json: bool, everything: bool, limit: int) -> None:
    """Show how many tasks there are in each state, the instances, and who works on them."""
    with open_store(database, read_only=True) as store:
        stats = store.stats()
        listed = store.list_instances(states=None if everything else _OPEN)
        instances = list(islice(listed, limit or None))
        more = next(listed, None) is not None
        workers = [worker for worker in store.list_workers() if worker.alive]
    if as_json:
        entry = {
            "counts": counts_entry(stats.counts),
            "live_claims": stats.live_claims,
            "oldest_ready_age": stats.oldest_ready_age,
            "instances": [instance_entry(instance) for instance in instances],
            "workers": [worker_entry(worker) for worker in workers],
        }
        click.echo(json.dumps(entry, indent=2))
        return
    click.echo(counts_text(stats.counts))
    oldest = "none" if stats.oldest_ready_age is None else span(stats.oldest_ready_age)
    click.echo(f"live claims: {stats.live_claims}; longest waiting: {oldest}")
    if instances:
        click.echo()
        columns = ["INSTANCE", "STATE", *(state.value.upper() for state in TaskState)]
        print_table(columns, [_instance_row(instance) for instance in instances])
        if more:
            click.echo("and more: --limit 0 shows all")
    if workers:
        click.echo()
        rows = [[clean(w.worker_id), str(w.pid), moment(w.started_at), str(w.claims)] for w in workers]
        print_table(["WORKER", "PID", "STARTED", "CLAIMS"], rows)


def _instance_row(instance: InstanceInfo) -> list[str]:
    return [
        clean(instance.instance_id),
        instance.state.value,
        *(str(instance.counts[state] or "") for state in TaskState),
    ]


@click.command("ls")
@database
@click.argument("instance", required=False)
@click.option("--instance", "of", metavar="INSTANCE", help="The same as the argument.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice([s.value for s in TaskState]), help="In this state."
)
@click.option("--kind", "kinds", multiple=True, help="Of this kind.")
@click.option("--limit", type=COUNT, help="How many; 0 is all. If not given: 100, and all as JSON.")
@_JSON_OPTION
def ls_command(
    database: str,
    instance: str | None,
    of: str | None,
    states: tuple[str, ...],
    kinds: tuple[str, ...],
    limit: int | None,
    as_json: bool,
) -> None:
    """List the tasks of INSTANCE, or all. --state and --kind may be given several times. As JSON it is one object a
    line, which add --json can read."""
    if instance is not None and of is not None:
        raise click.UsageError("Give the instance once.")
    if limit is None:
        limit = 0 if as_json else _ROWS
    with open_store(database, read_only=True) as store:
        tasks = store.list_tasks(
            of if instance is None else instance,
            states=[TaskState(state) for state in states] or None,
            kinds=kinds or None,
            limit=limit + 1 if limit else None,
        )
        shown = islice(tasks, limit or None)
        if as_json:
            for task in shown:
                click.echo(json.dumps(task_entry(task)))
            return
        columns = ["INSTANCE", "TASK", "STATE", "KIND", "PRIORITY", "ATTEMPTS", "WORKER", "INPUT", "ERROR"]
        print_table(columns, (_task_row(task) for task in shown))
        if next(tasks, None) is not None:
            click.echo("and more: --limit 0 shows all")


def _task_row(task: TaskInfo) -> list[str]:
    return [
        clean(task.instance_id),
        clean(task.task_id),
        task.state.value,
        clean(task.kind),
        str(task.priority),
        str(task.attempts),
        clean(task.worker_id or ""),
        clean_bytes(task.input, width=_PREVIEW),
        clean((task.error or "").partition("\n")[0], width=_PREVIEW),
    ]


@click.command("show")
@database
@click.argument("instance")
@click.argument("task", required=False)
@_JSON_OPTION
def show_command(database: str, instance: str, task: str | None, as_json: bool) -> None:
    """Show all about INSTANCE, or about its TASK, and why that is not running."""
    with open_store(database, read_only=True) as store:
        if task is None:
            _show_instance(store.get_instance(instance), as_json)
        else:
            _show_task(store, instance, task, as_json)


def _show_instance(info: InstanceInfo, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(instance_entry(info), indent=2))
        return
    _print_pairs(
        ("instance", clean(info.instance_id)),
        ("state", info.state.value),
        ("tasks", counts_text(info.counts)),
        ("definition", clean(info.definition_hash)),
        ("reason", clean(info.reason or "")),
        ("added", moment(info.added_at)),
        ("finished", moment(info.finished_at)),
    )


def _show_task(store: SqliteClaimStore, instance: str, task: str, as_json: bool) -> None:
    info = store.get_task(instance, task)
    why = store.explain_task(instance, task)
    if as_json:
        click.echo(json.dumps({**task_entry(info), "explanation": why}, indent=2))
        return
    took = "" if info.started_at is None else span(((info.finished_at or _now()) - info.started_at).total_seconds())
    _print_pairs(
        ("task", f"{clean(info.task_id)} of {clean(info.instance_id)}"),
        ("state", info.state.value),
        ("why", clean(why)),
        ("kind", clean(info.kind)),
        ("priority", str(info.priority)),
        ("tags", clean(" ".join(info.tags))),
        ("depends on", clean(" ".join(info.depends_on))),
        ("attempts", f"{info.attempts}, {info.failures} failed, {info.losses} lost"),
        ("worker", clean(info.worker_id or "")),
        ("added", moment(info.added_at)),
        ("started", moment(info.started_at)),
        ("finished", moment(info.finished_at)),
        ("took", took if info.finished_at or info.claim else ""),
        ("input", clean_bytes(info.input, width=2000)),
        ("output", clean_bytes(info.output or b"", width=2000)),
        ("error", "\n".join(clean(line) for line in (info.error or "").splitlines())),
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _print_pairs(*pairs: tuple[str, str]) -> None:
    """What there is of them, one below the other."""
    width = max(len(name) for name, _ in pairs) + 2
    for name, value in pairs:
        if value:
            click.echo(f"{name + ':':{width}}" + value.replace("\n", "\n" + " " * width))
