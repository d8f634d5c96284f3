"""The command line of ``map``."""

from __future__ import annotations

import os
import shlex
import time
from typing import Literal

import click

from ...errors import InvalidArgumentError
from ...model import NewTask
from ...opening import open_store
from ..app import for_the_shell
from ..exit_status import ExitStatus
from ..options import Number, Option, database
from ..text import clean, clean_bytes, clean_lines, format_duration, note_terminal_input, plural
from .command import CannotRunError, Template, ensure_open_files_limit
from .lines import LineSource, open_inputs
from .loop import MapLoop
from .plan import Outcome, Plan
from .progress import ProgressDisplay, choose_display


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
    keep_output: int,
    durability: Literal["full", "process"],
    quiet: bool,
) -> int:
    """Run COMMAND for each line of the FILEs, or of standard input, several in parallel. Run map again to resume.

    \b
        seq 10 | sqlite-claims map jobs.db -j 4 -- echo number {}
        find . -name '*.wav' -print0 | sqlite-claims map jobs.db -0 --retries 2 -- flac {}

    {} in COMMAND is replaced by the line, also inside an argument. Without {}, the line becomes the last argument.
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
    try:
        template = Template(argv)
        ensure_open_files_limit(jobs)
    except CannotRunError as error:
        display.print_line(clean(str(error)))
        return ExitStatus.CANNOT_RUN
    if not files:
        note_terminal_input()
    files = files or ("-",)
    source = LineSource(open_inputs(files), b"\0" if null else b"\n", files)
    try:
        name = template.instance_id if name is None else name
        plan = Plan(name, template, jobs, retries, keep_output, durable=durability == "full")
        _check_instance_name(plan)
        began = time.monotonic()
        with open_store(database, durability=durability) as store:
            outcome = MapLoop(store, plan, source, display).run()
    finally:
        source.close()
    _report_failures(outcome, plan, database, display)
    if not quiet:
        display.print_line(_summary(outcome, time.monotonic() - began))
    _report_problems(outcome, display)
    return outcome.status


def _check_instance_name(plan: Plan) -> None:
    """Refuse an invalid name of the instance before the store's file is created."""
    try:
        NewTask("any", kind=plan.kind)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(str(error).replace("kind", "--instance", 1)) from None


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
