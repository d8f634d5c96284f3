"""The group of commands, each imported only when it is called for, and how their errors become an exit status."""

from __future__ import annotations

import errno
import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TypeVar

import click
from click.shell_completion import shell_complete

from .. import __version__
from ..errors import BackendError
from ..sqlite.connection import apsw_version, sqlite_version
from ..sqlite.scan.core import load, why_missing
from ..store import SqliteClaimStore
from .text import clean, tell

F = TypeVar("F", bound=Callable[..., Any])

_NAME = "sqlite-claims"
_COMPLETE = "_SQLITE_CLAIMS_COMPLETE"
_COMMANDS = {
    "map": ("map.main", "Run a command for each line of input, some at a time."),
    "add": ("add", "Add tasks, from lines or from JSON."),
    "work": ("work", "Run worker processes with handlers written in Python."),
    "status": ("inspect", "Show how many tasks there are in each state."),
    "ls": ("inspect", "List tasks."),
    "show": ("inspect", "Show all about an instance or a task."),
    "top": ("top.main", "Show what goes on, again and again."),
    "pause": ("control", "Let no task of an instance be claimed until it is resumed."),
    "resume": ("control", "End a pause."),
    "cancel": ("control", "End an instance for good."),
    "retry": ("control", "Start failed tasks over."),
    "release": ("control", "Give a claimed task back, whoever holds it."),
    "prune": ("control", "Remove instances that ended long ago."),
    "backup": ("control", "Write a consistent copy while workers run."),
    "restore": ("control", "Put a backup where a store is to be."),
    "check": ("control", "Look for damage."),
    "bench": ("bench.main", "Measure what a store does on this machine."),
}


_IN_OUR_TERMS = {
    "(create=True would make it)": "(add and map make one)",
    "(create=True would add one)": "(add and map would add one)",
    "; read_only=True reads it": "; status, ls, show, top, check and backup read it",
    "; open it once for writing": "; open it once for writing, as prune does",
}


class _Commands(click.Group):
    """Knows the commands by name; their modules are imported when one is called for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f".{_COMMANDS[cmd_name][0]}", __package__)
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and (meant := get_close_matches(args[0], _COMMANDS, 1)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {meant[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        core = "in use" if load() is not None else f"not in use ({why_missing()}): the slower Python scan is used"
        click.echo(f"sqlite-claims {__version__}")
        click.echo(f"apsw {apsw_version()}, SQLite {sqlite_version()}, Python {platform.python_version()}")
        click.echo(f"C core: {clean(core)}")
        ctx.exit()


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the versions of this, of apsw and of SQLite, and whether the C core is in use.",
)
def commands() -> None:
    """Many worker processes, one SQLite file as their work list.

    A file comes to be with its first tasks, as in: seq 10 | sqlite-claims map jobs.db -- echo {}

    sqlite-claims COMMAND --help says all about a command. A DURATION is 90 (seconds), 30s, 10m, 2h or 7d.
    """


def run(args: list[str] | None = None) -> int:
    """Run one command; its exit status. 2: it could not be done."""
    try:
        # Not by click's main(), to which a reader that has gone is a failure with status 1.
        if (wanted := os.environ.get(_COMPLETE)) is not None:
            return shell_complete(commands, {}, _NAME, _COMPLETE, wanted)
        with commands.make_context(_NAME, sys.argv[1:] if args is None else args) as ctx:
            result = commands.invoke(ctx)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        with suppress(OSError):  # nobody to tell it to
            error.show()
        return error.exit_code
    except BackendError as error:
        return _cannot(for_the_shell(str(error)))
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        _write_no_more()
        return 141
    except OSError as error:
        _write_no_more()
        if error.filename is not None:
            return _cannot(f"{error}")
        if error.errno == errno.ENOENT:  # by which no writing fails
            return _cannot(f"the current folder cannot be found ({error.strerror})")
        return _cannot(f"cannot write the output: {error.strerror}")


def _cannot(why: str) -> int:
    tell(f"sqlite-claims: {clean(why.partition(chr(10))[0])}")
    return 2


def for_the_shell(text: str) -> str:
    """An error message in terms of the command line: advice for programs is replaced by the commands to use."""
    for told, ours in _IN_OUR_TERMS.items():
        text = text.replace(told, ours)
    return text


def _write_no_more() -> None:
    """Without this, Python would complain about what it can't flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


database = click.argument("database", metavar="DB", type=click.Path(dir_okay=False))
"""The store's file, first argument of every command."""


def open_store(path: str, *, read_only: bool = False) -> SqliteClaimStore:
    """The store as all commands want it that don't make one: a wrong name is an error."""
    return SqliteClaimStore(path, create=False, read_only=read_only)
