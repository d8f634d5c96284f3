"""Formatting of text for people. Task names and outputs are escaped, so that they cannot send
control codes to the terminal."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from ..model import StoreStats, TaskState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# The smallest width of a column whose cells are cut or wrapped.
_NARROW_CHARACTERS = 6


def clean(text: str, *, width: int | None = None) -> str:
    """Replace characters that are not printable by escape sequences, and cut the text to ``width`` characters."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if width is not None and len(text) > width:
        text = text[: width - 3] + "..."
    return text


def clean_bytes(data: bytes, *, width: int | None = None) -> str:
    """Decode bytes as UTF-8, then escape and cut the text as ``clean`` does."""
    start = data if width is None else data[: 4 * width]
    return clean(start.decode("utf-8", "backslashreplace"), width=width)


def clean_path(path: str | bytes) -> str:
    """Quote a path, and escape it as ``clean`` does."""
    return clean(repr(os.fsdecode(path)))


def clean_lines(text: str) -> str:
    """Escape each line of a text, and indent all lines but the first."""
    return "\n    ".join(clean(line) for line in text.splitlines())


def format_duration(seconds: float) -> str:
    """Return a duration as text, in at most two units, for example hours and minutes."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, large_s, small_s in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= large_s:
            return f"{whole // large_s} {large} {whole % large_s // small_s} {small}"
    raise AssertionError


def format_time(at: datetime | None) -> str:
    """Return a date and time as text, in this machine's time zone and with the zone's name. ``None`` gives ``""``."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def plural(number: int, noun: str) -> str:
    """Return the number with the noun: ``1 task``, ``2 tasks``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_error(text: str) -> None:
    """Print a line on standard error. If the line cannot be printed, only the exit status reports the error."""
    with suppress(OSError):
        click.echo(text, err=True)


def note_terminal_input() -> None:
    """Print a note if the input is read from a terminal."""
    if os.isatty(0):
        print_error("sqlite-claims: reading lines from the terminal; Ctrl-D ends the input")


def format_counts(counts: Mapping[TaskState, int]) -> str:
    """Return the counts by task state as one line of text, without the counts that are zero."""
    return "  ".join(f"{state.value}: {counts[state]}" for state in TaskState if counts[state]) or "no tasks"


def format_oldest_ready(stats: StoreStats) -> str:
    """Return text that says for how long the oldest ready task has been ready."""
    age_s = stats.oldest_ready_age
    return f"oldest ready task: {'none' if age_s is None else f'{format_duration(age_s)} old'}"


def plain_console() -> Console:
    """Return a console for standard output. If standard output is not a terminal, no line is cut or wrapped."""
    from rich.console import Console

    class OurConsole(Console):
        def on_broken_pipe(self) -> None:  # rich would exit with status 1, which means ExitStatus.FAILED
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    console = OurConsole(highlight=False)
    return console if console.is_terminal else OurConsole(highlight=False, width=10_000)


class Column(NamedTuple):
    """A column of a table. ``narrow`` says how to show cells that are too long for a narrow terminal."""

    title: str
    narrow: Literal["whole", "cut", "wrap"] = "whole"


def make_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, is_terminal: bool) -> Table:
    """Make a table from cells that are already escaped. On a terminal, columns without any values are left out."""
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    indices = [index for index in range(len(columns)) if not is_terminal or any(row[index] for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (columns[index] for index in indices):
        is_whole = column.narrow == "whole"
        table.add_column(column.title, no_wrap=is_whole, min_width=None if is_whole else _NARROW_CHARACTERS)
    for row in rows:
        cells = (Text(row[index], no_wrap=columns[index].narrow != "wrap", overflow="ellipsis") for index in indices)
        table.add_row(*cells)
    return table


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on standard output."""
    console = plain_console()
    console.print(make_table(columns, rows, is_terminal=console.is_terminal))
