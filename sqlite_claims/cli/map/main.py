"""The command line of ``map``."""

from __future__ import annotations

import os
import time
from typing import Literal

import click

from ...errors import InvalidArgumentError
from ...model import NewTask
from ...store import SqliteClaimStore
from ..app import for_the_shell
from ..options import database
from ..text import clean, clean_bytes, clean_lines, format_duration, note_terminal_input
from .command import CannotRunError, Template, room_for
from .lines import LineSource, open_inputs
from .loop import MapRun
from .plan import Outcome, Plan
from .progress import Progress, choose_progress


class _MapCommand(click.Command):
    """What comes after ``--`` is the command to run, never an option or a file of ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            place = args.index("--")
            args, ctx.meta["command"] = args[:place], args[place + 1 :]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND [ARGUMENT]..."]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@click.command("map", cls=_MapCommand)
@database
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 100_000), help="Commands at a time; as many as cores, if not given."
)
@click.option("--retries", type=click.IntRange(0), default=0, help="Times a failed command is tried again in this run.")
@click.option("--name", help="The instance that holds the tasks; made from the command, if not given.")
@click.option("-0", "--null", is_flag=True, help="Lines end with a NUL byte, as those of find -print0.")
@click.option(
    "--keep-output",
    type=click.IntRange(0),
    default=65_536,
    show_default=True,
    metavar="BYTES",
    help="How much of each command's standard output is stored as its task's output.",
)
@click.option(
    "--durability",
    type=click.Choice(["full", "process"]),
    default="full",
    show_default=True,
    help="What results survive: a loss of power, or only a killed process (faster).",
)
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and no summary, only what failed.")
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
    """Run COMMAND once for each line of the FILEs, or of standard input, several at a time.

    {} in the command, also inside an argument, is replaced by the line; without any, the line becomes the last
    argument. There is no shell in between, unless you name one: sh -c 'echo "$1" | tr a-z A-Z' sh {}.

    Each line is a task in DB, which is made where it isn't there. Killed, interrupted or out of power: the same
    command again goes on where it was. Lines that are done are not run again, lines that failed are, and new ones are
    added. Several may run on one DB, also with the same command and input: they share the work.

    Empty lines are skipped. Equal lines are tasks of their own. A carriage return at the end of a line is dropped.

    The output of commands is passed on line by line, not mixed. Interrupted (Ctrl-C) once, it lets the running ones
    finish; twice, it kills them.

    Exit status: 0 when every line's command ended well, 1 when any failed, 2 or 127 when it can't run, 130 when
    interrupted, 141 when nobody reads its output any more.
    """
    argv = ctx.meta.get("command")
    if not argv:
        raise click.UsageError("Give the command to run after --, as in: sqlite-claims map DB -- echo {}", ctx)
    jobs = jobs if jobs is not None else _cores()
    progress = choose_progress(quiet)
    try:
        template = Template(argv)
        room_for(jobs)
    except CannotRunError as error:
        progress.say(clean(str(error)))
        return 127
    if not files:
        note_terminal_input()
    files = files or ("-",)
    source = LineSource(open_inputs(files), b"\0" if null else b"\n", files)
    try:
        name = template.instance_id if name is None else name
        plan = Plan(name, template, jobs, retries, keep_output, durable=durability == "full")
        try:
            NewTask("any", kind=plan.kind)  # refuses a name that is none, before a file is made
        except InvalidArgumentError as error:
            raise InvalidArgumentError(str(error).replace("kind", "--name", 1)) from None
        began = time.monotonic()
        with SqliteClaimStore(database, durability=durability) as store:
            outcome = MapRun(store, plan, source, progress).run()
    finally:
        source.close()
    _report(outcome, plan, database, progress, None if quiet else time.monotonic() - began)
    return outcome.status


def _report(outcome: Outcome, plan: Plan, database: str, progress: Progress, took: float | None) -> None:
    """What failed, then a line that says how it went; ``took`` is ``None`` where nobody wants to know."""
    for failure in outcome.failures:
        progress.say(f"failed: {clean_bytes(failure.line, width=200)}: {clean_lines(failure.error)}")
    if outcome.failed > len(outcome.failures):
        progress.say(
            f"and {outcome.failed - len(outcome.failures)} more failed: "
            f"sqlite-claims ls {database} --instance {plan.instance_id} --state failed"
        )
    if outcome.lost:
        progress.say(f"not stored, since their tasks had been given to others or cancelled: {outcome.lost} results")
    if took is not None:
        rate = (outcome.completed + outcome.failed) / max(took, 0.001)
        told = f"{outcome.completed} done and {outcome.failed} failed in this run"
        if outcome.unwritten:
            told += f", {outcome.unwritten} whose output could not be written"
        if outcome.done_before:
            told += f"; {outcome.done_before} were done before"
        progress.say(f"{told}; {format_duration(took)}, {rate:.1f}/s")
    if outcome.done_before and outcome.began_empty:
        progress.say(
            f"standard output is a file that was empty: it lacks the output of the {outcome.done_before} lines that "
            "were done before, which >> in place of > keeps"
        )
    if outcome.problem is not None:
        progress.say(clean(for_the_shell(outcome.problem)))
