"""``sqlite-claims work``: worker processes with handlers written in Python."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any

import click

from .app import database, open_store
from .text import SpanType, clean, tell


class _ForPeople(logging.Formatter):
    """Times with their zone, and nothing that could steer a terminal: errors may quote what a task was given."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return f"{super().formatTime(record, datefmt)} {time.strftime('%Z', time.localtime(record.created))}"

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(clean(line.expandtabs()) for line in super().format(record).split("\n"))


@click.command("work")
@database
@click.argument("handlers", metavar="MODULE:ATTRIBUTE")
@click.option("-j", "--processes", type=click.IntRange(1), help="Worker processes; as many as cores, if not given.")
@click.option("--tag", "tags", multiple=True, help="Take only tasks whose tags are among these.")
@click.option("--task-timeout", type=SpanType(), help="A task that takes longer than this has failed.")
@click.option("--until-idle", is_flag=True, help="End when there is nothing left that the handlers could do.")
@click.option("-v", "--verbose", is_flag=True, help="Log the start and the completion of each task, too.")
@click.pass_context
def work_command(
    ctx: click.Context, /, database: str, handlers: str, until_idle: bool, verbose: bool, **options: Any
) -> None:
    """Run worker processes on DB with the handlers of MODULE:ATTRIBUTE, a mapping from kind to a callable, a registry,
    or one callable for everything. Modules are looked for in the current folder, too.

    Failed attempts and lost claims are logged to standard error.

    Interrupted (Ctrl-C, SIGTERM), it lets running tasks finish for some seconds and gives the others back.

    Exit status: 130 when interrupted; with --until-idle, 0 when no attempt failed in this run and 1 when any did,
    also where the task was tried again and completed.
    """
    from ..workers import WorkerPool

    handler = logging.StreamHandler()
    handler.setFormatter(_ForPeople("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    open_store(database).close()  # a wrong name is an error, before any process is started
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    chosen = {key: value for key, value in options.items() if value not in (None, ())}
    summary = WorkerPool(database, handlers, store_options={"create": False}, **chosen).run(until_idle=until_idle)
    tell(
        f"sqlite-claims: {summary.reason}; attempts: {summary.completed} completed, {summary.failed} failed, "
        f"{summary.lost} lost"
    )
    if summary.reason == "interrupted":
        ctx.exit(130)
    ctx.exit(1 if until_idle and summary.failed else 0)
