"""The command line of ``map``."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import replace
from typing import Literal

import click

from ...errors import InvalidArgumentError
from ...model import NewTask
from ...opening import open_store
from ..app import for_the_shell
from ..exit_status import ExitStatus
from ..options import DurationType, Number, Option, database
from ..text import clean, clean_bytes, clean_lines, format_duration, note_terminal_input, plural
from .command import ensure_open_files_limit
from .dry_run import print_commands
from .joblog import open_joblog
from .lines import LineSource, open_inputs
from .loop import WAITING_MAX, MapLoop
from .plan import Halt, Outcome, Plan
from .progress import ProgressDisplay, choose_display
from .results import check_results_folder
from .template import CannotRunError, Template


class _MapCommand(click.Command):
    """A command line in which all words after ``--`` are the command to run, never options or files of ``map``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            index = args.index("--")
            args, ctx.meta["command"] = args[:index], args[index + 1 :]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND [ARGUMENT]..."]


def _cpu_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@click.command("map", cls=_MapCommand)
@database
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option(
    "-j",
    "-P",
    "--jobs",
    cls=Option,
    metavar="N",
    type=Number(1, 100_000),
    show_default="number of CPU cores",
    help="Commands to run in parallel.",
)
@click.option(
    "--retries",
    cls=Option,
    metavar="N",
    type=Number(0),
    default=0,
    show_default=True,
    help="Retries per failed command in this run, after 1 s, 2 s, 4 s and so on.",
)
@click.option(
    "--instance",
    "name",
    cls=Option,
    aliases=["--name"],
    metavar="NAME",
    show_default="made from COMMAND",
    help="Name of the instance with the tasks.",
)
@click.option("--timeout", metavar="DURATION", type=DurationType(), help="A command that runs for longer fails.")
@click.option(
    "--halt",
    metavar="RULE",
    help="now,fail=N: after N failed lines, kill the running commands and end. soon,fail=N: start no more commands.",
)
@click.option("--delay", metavar="DURATION", type=DurationType(), default=0.0, help="Time between two starts.")
@click.option("-k", "--keep-order", is_flag=True, help="Print the outputs in the order of the lines.")
@click.option("--tag", is_flag=True, help="Print the line and a tab before each line of its output.")
@click.option(
    "-C",
    "--colsep",
    metavar="REGEXP",
    help="Split each line into columns at matches of REGEXP. {1} is the first column.",
)
@click.option("--joblog", metavar="FILE", type=click.Path(dir_okay=False), help="Append a line for each command.")
@click.option(
    "--results",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Write stdout, stderr and seq of each command to files in DIR/1/LINE/.",
)
@click.option(
    "--task-tag",
    "task_tags",
    multiple=True,
    metavar="TAG",
    help="Tag of the tasks of new lines. May be repeated.",
)
@click.option(
    "--limit", metavar="NAME[:PART]", help="Limit that the tasks of new lines count against. See the command limit."
)
@click.option("--dry-run", is_flag=True, help="Print the commands that would be run, and change nothing.")
@click.option("-0", "--null", is_flag=True, help="Input lines end with a NUL byte, as in the output of find -print0.")
@click.option(
    "--keep-output",
    cls=Option,
    type=Number(0),
    default=65_536,
    show_default=True,
    metavar="BYTES",
    help="Store this much of each command's standard output as the output of its task.",
)
@click.option(
    "--durability",
    type=click.Choice(["full", "process"]),
    default="full",
    show_default=True,
    help="full: results survive a loss of power. process: results survive only a killed process (faster).",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only failures: no progress and no summary.")
@click.pass_context
def map_command(
    ctx: click.Context,
    /,
    database: str,
    files: tuple[str, ...],
    jobs: int | None,
    retries: int,
    name: str | None,
    null: bool,
    timeout: float | None,
    halt: str | None,
    delay: float,
    keep_order: bool,
    tag: bool,
    colsep: str | None,
    joblog: str | None,
    results: str | None,
    task_tags: tuple[str, ...],
    limit: str | None,
    dry_run: bool,
    keep_output: int,
    durability: Literal["full", "process"],
    quiet: bool,
) -> int:
    """Run COMMAND for each line of the FILEs, or of standard input, several in parallel. Run map again to resume.

    \b
        seq 10 | sqlite-claims map jobs.db -j 4 -- echo number {}
        find . -name '*.wav' -print0 | sqlite-claims map jobs.db -0 --retries 2 -- flac {}

    Placeholders in COMMAND, also inside an argument: {} the line, {.} without its extension, {/} its base name, {//}
    its folder, {/.} its base name without extension, {#} the line's number, {%} the job slot, {1} the first column
    (with --colsep). Without a placeholder, the line becomes the last argument. Other braces are text.

    COMMAND is run without a shell. For pipes, run a shell, and pass the line to the shell as an argument:

    \b
        sqlite-claims map jobs.db words.txt -- sh -c 'echo "$1" | tr a-z A-Z' sh {}

    Each line is a task in DB; DB is created if it does not exist. After an interruption, a kill or a loss of power, run
    the same command again to resume: completed lines are skipped, failed lines are retried, and new lines are added.
    Commands that were running at that moment are run again. Several map processes may use one DB at the same time.
    Processes with the same COMMAND share the work.

    Empty lines are skipped. Duplicate lines are separate tasks. A carriage return at the end of a line is removed.

    The output of commands is printed in whole lines, so that lines of different commands do not mix. After Ctrl-C,
    running commands may finish; a second Ctrl-C kills them.

    Exit status: 0 if every command succeeded, 1 if any failed or the instance was cancelled, 2 after an error, 127 if
    COMMAND cannot be run, 130 when interrupted, 141 if the program that reads the output has ended.
    """
    argv = ctx.meta.get("command")
    if not argv:
        raise click.UsageError("Give the command to run after --, for example: sqlite-claims map DB -- echo {}", ctx)
    jobs = jobs if jobs is not None else _cpu_cores()
    display = choose_display(quiet)
    if timeout is not None and timeout <= 0:
        raise InvalidArgumentError(f"--timeout {timeout}: give a duration of more than 0")
    rule = None if halt is None else Halt.parse(halt)
    if results is not None:
        check_results_folder(results)
    try:
        template = Template(argv, colsep)
        ensure_open_files_limit(jobs, waiting=WAITING_MAX if keep_order else 0)
    except CannotRunError as error:
        display.print_line(clean(str(error)))
        return ExitStatus.CANNOT_RUN
    plan = Plan(
        template.instance_id if name is None else name,
        template,
        jobs,
        retries,
        keep_output,
        durable=durability == "full",
        task_tags=task_tags,
        limit=limit,
        timeout_s=timeout,
        delay_s=delay,
        halt=rule,
        keep_order=keep_order,
        tag=tag,
        results=results,
    )
    _check_names(plan)
    if not files:
        note_terminal_input()
    files = files or ("-",)
    source = LineSource(open_inputs(files), b"\0" if null else b"\n", files)
    try:
        if dry_run:
            print_commands(database, plan, source)
            return ExitStatus.DONE
        if joblog is not None:
            plan = replace(plan, joblog_fd=open_joblog(joblog))
        began = time.monotonic()
        with open_store(database, durability=durability) as store:
            outcome = MapLoop(store, plan, source, display).run()
    finally:
        source.close()
        if plan.joblog_fd >= 0:
            os.close(plan.joblog_fd)
    _report_failures(outcome, plan, database, display)
    if not quiet:
        display.print_line(_summary(outcome, time.monotonic() - began))
    _report_problems(outcome, display)
    return outcome.status


def _check_names(plan: Plan) -> None:
    """Refuse invalid names of the instance, of tags and of the limit before the store's file is created."""
    try:
        NewTask("any", kind=plan.kind)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(str(error).replace("kind", "--instance", 1)) from None
    try:
        NewTask("any", tags=plan.task_tags)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(str(error).replace("tags", "--task-tag", 1)) from None
    try:
        NewTask("any", limit=plan.limit)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(str(error).replace("limit", "--limit", 1)) from None


def _report_failures(outcome: Outcome, plan: Plan, database: str, display: ProgressDisplay) -> None:
    for failure in outcome.failures:
        display.print_line(f"failed: {clean_bytes(failure.line, width=200)}: {clean_lines(failure.error)}")
    if outcome.failed > len(outcome.failures):
        arguments = shlex.join([database, plan.instance_id])
        display.print_line(
            f"{outcome.failed - len(outcome.failures)} more failed; to list them: "
            f"sqlite-claims ls {clean(arguments)} --state failed"
        )
    if outcome.lost:
        display.print_line(
            f"{plural(outcome.lost, 'result')} not stored: the task was cancelled, or claimed by another process"
        )


def _summary(outcome: Outcome, took_s: float) -> str:
    rate = (outcome.completed + outcome.failed) / max(took_s, 0.001)
    text = f"{outcome.completed} done, {outcome.failed} failed"
    if outcome.unwritten:
        text += f", {outcome.unwritten} whose output could not be written"
    text += " in this run"
    if outcome.done_before:
        text += f"; {outcome.done_before} done before"
    return f"{text}; {format_duration(took_s)}, {rate:.1f}/s"


def _report_problems(outcome: Outcome, display: ProgressDisplay) -> None:
    if outcome.done_before and outcome.began_empty:
        display.print_line(
            f"standard output is a file that was empty: it lacks the output of the {outcome.done_before} lines that "
            "were done before; to keep the output of earlier runs, append with >> instead of >"
        )
    if outcome.problem is not None:
        display.print_line(clean(for_the_shell(outcome.problem)))
