"""``sqlite-claims schedule``: set, remove, list, pause and resume schedules."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

import click

from .. import opening
from ..model import NewTask
from ..schedules import CatchUp, Cron, Every, ScheduleInfo
from .app import open_store
from .json_format import schedule_entry
from .options import DurationType, Number, Option, database, json_option
from .text import Column, clean, format_duration, format_time, print_table

# A tick that is late by more than this is reported.
_LATE_S = 60
_TASK_ID = "task"


def late_ticks(schedules: Iterable[ScheduleInfo]) -> list[str]:
    """Return one sentence for each schedule whose tick is more than a minute late."""
    now = time.time()
    return [
        f"schedule {schedule.schedule_id!r}: the tick of {format_time(schedule.next_at)} is "
        f"{format_duration(now - schedule.next_at.timestamp())} late, because no process looks for work"
        for schedule in schedules
        if schedule.next_at is not None and now - schedule.next_at.timestamp() > _LATE_S
    ]


@click.group("schedule")
def schedule_command() -> None:
    """Add a task to DB at regular times, for example every night."""


@schedule_command.command("set")
@database
@click.argument("schedule", metavar="ID")
@click.option("--cron", metavar="EXPR", help="Times as in cron(5): minute, hour, day of month, month, day of week.")
@click.option("--timezone", metavar="ZONE", help="IANA time zone of --cron, for example Europe/Berlin. Default: UTC.")
@click.option("--every", type=DurationType(), help="Interval, counted from 1970-01-01 00:00 UTC.")
@click.option("--kind", help="Kind of the task, which selects the handler in a worker.")
@click.option("--input", "text", metavar="TEXT", help="Input of the task.")
@click.option(
    "--priority",
    cls=Option,
    metavar="N",
    type=Number(1, 5),
    default=3,
    show_default=True,
    help="1 (first) to 5 (last).",
)
@click.option("--tag", "tags", multiple=True, help="Tag of the task. May be repeated.")
@click.option("--unique-key", metavar="KEY", help="Skip a tick while an earlier task with this key is open.")
@click.option("--limit", metavar="NAME[:PART]", help="Limit that the task counts against. See the command limit.")
@click.option("--timeout", type=DurationType(), help="How long one attempt may run.")
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
    "--catch-up",
    type=click.Choice(["latest", "all", "none"]),
    default="latest",
    show_default=True,
    help="Ticks to add after a time in which no process looked for work.",
)
def set_command(
    database: str,
    schedule: str,
    cron: str | None,
    timezone: str | None,
    every: float | None,
    kind: str | None,
    text: str | None,
    priority: int,
    tags: tuple[str, ...],
    unique_key: str | None,
    limit: str | None,
    timeout: float | None,
    max_attempts: int,
    catch_up: CatchUp,
) -> None:
    """Set the schedule ID. Each tick adds an instance with one task, which is named "task".

    \b
        sqlite-claims schedule set jobs.db report --cron "30 2 * * *" --timezone Europe/Berlin --kind report
        sqlite-claims schedule set jobs.db poll --every 5m --kind poll --catch-up none

    DB is created if it does not exist. If the same schedule is stored already, nothing changes.
    """
    if (cron is None) == (every is None):
        raise click.UsageError("Give either --cron or --every.")
    if cron is None and timezone is not None:
        raise click.UsageError("--timezone needs --cron.")
    when = Every(every) if every is not None else Cron(cron or "", "UTC" if timezone is None else timezone)
    task = NewTask(
        _TASK_ID,
        None if text is None else text.encode("utf-8", "surrogateescape"),
        kind=kind,
        priority=priority,
        tags=tags,
        unique_key=unique_key,
        limit=limit,
        timeout=timeout,
        max_attempts=max_attempts,
    )
    with opening.open_store(database) as store:
        store.set_schedule(schedule, when, task, catch_up=catch_up)


@schedule_command.command("rm")
@database
@click.argument("schedule", metavar="ID")
def rm_command(database: str, schedule: str) -> None:
    """Remove the schedule ID. The instances of earlier ticks stay."""
    with open_store(database) as store:
        store.remove_schedule(schedule)


@schedule_command.command("pause")
@database
@click.argument("schedule", metavar="ID")
def pause_command(database: str, schedule: str) -> None:
    """Pause the schedule ID. Ticks during the pause are not made up for."""
    with open_store(database) as store:
        store.pause_schedule(schedule)


@schedule_command.command("resume")
@database
@click.argument("schedule", metavar="ID")
def resume_command(database: str, schedule: str) -> None:
    """Resume the paused schedule ID. Its ticks count from now."""
    with open_store(database) as store:
        store.resume_schedule(schedule)


@schedule_command.command("ls")
@database
@json_option
def ls_command(database: str, as_json: bool) -> None:
    """List the schedules, with their next and latest ticks."""
    with open_store(database, read_only=True) as store:
        schedules = store.list_schedules()
    if as_json:
        click.echo(json.dumps([schedule_entry(schedule) for schedule in schedules], indent=2))
        return
    columns = [
        Column("SCHEDULE", "cut"),
        Column("WHEN", "cut"),
        Column("KIND", "cut"),
        Column("NEXT"),
        Column("LAST"),
        Column("CATCH-UP"),
    ]
    print_table(columns, map(_cells, schedules))
    for sentence in late_ticks(schedules):
        click.echo(clean(sentence))


def _cells(schedule: ScheduleInfo) -> list[str]:
    when = schedule.when
    return [
        clean(schedule.schedule_id),
        clean(f"{when.expression} {when.timezone}" if isinstance(when, Cron) else f"every {when.interval:g} s"),
        clean(schedule.task.kind or ""),
        "paused" if schedule.next_at is None else format_time(schedule.next_at),
        "" if schedule.last_at is None else format_time(schedule.last_at),
        schedule.catch_up,
    ]
