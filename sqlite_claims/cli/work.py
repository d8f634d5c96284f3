"""``sqlite-claims work``: run worker processes with handlers written in Python."""

from __future__ import annotations

import logging
import os
import sys
import time

import click

from .app import open_store
from .exit_status import ExitStatus
from .options import DurationType, Number, Option, database
from .text import clean, print_error


class _LogFormatter(logging.Formatter):
    """A formatter that shows times with their time zone, and escapes control codes in task names and errors."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return f"{super().formatTime(record, datefmt)} {time.strftime('%Z', time.localtime(record.created))}"

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(clean(line.expandtabs()) for line in super().format(record).split("\n"))


@click.command("work")
@database
@click.argument("handlers", metavar="MODULE:ATTRIBUTE")
@click.option(
    "-j",
    "--jobs",
    "processes",
    cls=Option,
    aliases=["--processes"],
    metavar="N",
    type=Number(1),
    show_default="number of CPU cores",
    help="Worker processes.",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    help="Tag of the workers: a task is taken only if all its tags are given. May be repeated.",
)
@click.option("--task-timeout", type=DurationType(), help="Fail a task that runs longer than this.")
@click.option("--until-idle", is_flag=True, help="Exit when no task is left for these handlers.")
@click.option("-v", "--verbose", is_flag=True, help="Also log the start and the completion of each task.")
@click.pass_context
def work_command(
    ctx: click.Context,
    /,
    database: str,
    handlers: str,
    processes: int | None,
    tags: tuple[str, ...],
    task_timeout: float | None,
    until_idle: bool,
    verbose: bool,
) -> None:
    """Run worker processes that execute the tasks in DB with handlers written in Python.

    \b
        sqlite-claims work jobs.db tasks:registry -j 4

    MODULE:ATTRIBUTE is a TaskRegistry, a mapping from task kinds to functions, or one function for all tasks. MODULE
    may be in the current folder.

    Failed attempts and lost claims are logged to standard error. Each failed task is retried by the task's retry
    policy. If a worker process dies, a different process runs the task again.

    Ctrl-C and SIGTERM stop the workers. Running tasks have 5 seconds to finish; tasks that do not finish in this time
    become available again.

    Exit status: 130 when interrupted. With --until-idle: 0 if no attempt failed in this run, 1 if any attempt failed,
    even if a retry succeeded.
    """
    from ..workers import WorkerPool

    handler = logging.StreamHandler()
    handler.setFormatter(_LogFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    open_store(database).close()  # raises an error for a missing file before any process is started
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    pool = WorkerPool(
        database,
        handlers,
        processes=processes,
        tags=tags or None,
        task_timeout=task_timeout,
        store_options={"create": False},
    )
    summary = pool.run(until_idle=until_idle)
    print_error(
        f"sqlite-claims: {summary.reason}; attempts: {summary.completed} completed, {summary.failed} failed, "
        f"{summary.lost} lost"
    )
    if summary.reason == "interrupted":
        ctx.exit(ExitStatus.INTERRUPTED)
    ctx.exit(ExitStatus.FAILED if until_idle and summary.failed else ExitStatus.DONE)
