"""The group of all commands, and the translation of errors into exit statuses."""

from __future__ import annotations

import errno
import os
import platform
import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module

import click
from click.shell_completion import shell_complete

from .. import __version__, opening
from ..errors import BackendError
from ..sqlite.c_core import load, why_missing
from ..sqlite.connection import apsw_version, sqlite_version
from ..sqlite.store import SqliteClaimStore
from .exit_status import EXIT_STATUS_HELP, ExitStatus
from .text import clean, print_error

_NAME = "sqlite-claims"
_COMPLETE = "_SQLITE_CLAIMS_COMPLETE"
_COMMANDS = {
    "map": ("map.main", "Run a command for each line of input, several in parallel."),
    "add": ("add", "Add tasks from lines of text or from JSON."),
    "work": ("work", "Run worker processes with handlers written in Python."),
    "status": ("inspect", "Show task counts, instances and workers."),
    "ls": ("inspect", "List tasks."),
    "show": ("inspect", "Show all details of an instance or a task."),
    "top": ("top.main", "Live view of tasks and workers."),
    "schedule": ("schedule", "Add a task at regular times, for example every night."),
    "limit": ("limit", "Limit how many tasks run, or start, at a time."),
    "pause": ("control", "Stop handing out an instance's tasks until it is resumed."),
    "resume": ("control", "Resume a paused instance."),
    "cancel": ("control", "Cancel an instance permanently."),
    "retry": ("control", "Retry failed tasks."),
    "release": ("control", "Release a claimed task, no matter who holds it."),
    "prune": ("control", "Delete instances that ended long ago."),
    "backup": ("control", "Write a consistent copy of a store while workers run."),
    "restore": ("control", "Restore a store from a backup."),
    "check": ("control", "Check the file for corruption."),
    "bench": ("bench.main", "Benchmark this machine and disk."),
}
"""The module and the one-line summary of each command. The module is imported only when the command is called."""

_ADVICE_FOR_THE_SHELL = {
    "(create=True creates it)": "(it is created by add and map)",
    "(create=True adds one)": "(add and map add one)",
    "; read_only=True reads it": "; status, ls, show, top, check and backup can read it",
    "; open it once for writing": "; open it once for writing, as prune does",
    "with replace=True": "with --replace",
}


class _Commands(click.Group):
    """The group of all commands. The names of commands are listed without importing their modules."""

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
        if args[0] not in _COMMANDS and (similar := get_close_matches(args[0], _COMMANDS, 1)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {similar[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Exit status"):
            formatter.write_dl(EXIT_STATUS_HELP)


def _print_version(ctx: click.Context, _param: click.Parameter, is_wanted: bool) -> None:
    if is_wanted:
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
    help="Show the versions of sqlite-claims, apsw and SQLite, and whether the C core is in use.",
)
def commands() -> None:
    """A task queue in one SQLite file, shared by many worker processes on one machine.

    The file is created when its first tasks are added. To run a command for each line of input, four in parallel:

    \b
        seq 10 | sqlite-claims map jobs.db -j 4 -- echo {}

    If the command is interrupted, run the same command again to resume. To see all instances and the failed tasks:

    \b
        sqlite-claims status jobs.db --all
        sqlite-claims ls jobs.db --state failed

    "sqlite-claims COMMAND --help" shows the options of a command. DB is the path of the store's file. A DURATION is a
    number with a unit: 500ms, 30s, 10m, 2h, 7d, 1w. A number without a unit is in seconds.
    """


def run(args: list[str] | None = None) -> int:
    """Run one command, and return its exit status.

    Args:
        args: Arguments of the command line, without the program's name. ``None``: the arguments of this process.
    """
    try:
        # click's main() is not used, because it returns status 1 if the reader of the output has closed the pipe.
        if (instruction := os.environ.get(_COMPLETE)) is not None:
            return shell_complete(commands, {}, _NAME, _COMPLETE, instruction)
        with commands.make_context(_NAME, sys.argv[1:] if args is None else args) as ctx:
            result = commands.invoke(ctx)
        sys.stdout.flush()
        return result if isinstance(result, int) else ExitStatus.DONE
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        with suppress(OSError):  # if the process cannot write to standard error, only the exit status reports the error
            error.show()
        return error.exit_code
    except BackendError as error:
        return _report_error(for_the_shell(str(error)))
    except (click.Abort, KeyboardInterrupt):
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return ExitStatus.BROKEN_PIPE
    except OSError as error:
        _discard_output()
        if error.filename is not None:
            return _report_error(f"{error}")
        if error.errno == errno.ENOENT:  # os.getcwd() raised this error, because no write fails with ENOENT
            return _report_error(f"the current folder no longer exists ({error.strerror})")
        return _report_error(f"cannot write the output: {error.strerror}")


def _report_error(message: str) -> int:
    """Print the first line of the message, and return the exit status for errors."""
    print_error(f"sqlite-claims: {clean(message.partition(chr(10))[0])}")
    return ExitStatus.ERROR


def for_the_shell(message: str) -> str:
    """Replace advice about Python arguments with advice about commands."""
    for for_programs, for_users in _ADVICE_FOR_THE_SHELL.items():
        message = message.replace(for_programs, for_users)
    return message


def _discard_output() -> None:
    """Redirect standard output to /dev/null. Otherwise Python's flush at exit would report the same error again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def open_store(path: str, *, read_only: bool = False) -> SqliteClaimStore:
    """Open an existing store. If there is no file, raise an error."""
    return opening.open_store(path, create=False, read_only=read_only)
