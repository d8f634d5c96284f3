"""Text for people: nothing that a task's name or output holds may steer their terminal."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ..model import TaskState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COUNT = click.IntRange(0, 2**31 - 1)
"""An option that is a number of rows; 0 is all."""
_UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) *(ms|[smhdw]?)")


def clean(text: str, *, width: int | None = None) -> str:
    """Printable on one line: everything else escaped; cut to ``width`` characters."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if width is not None and len(text) > width:
        text = text[: width - 3] + "..."
    return text


def clean_bytes(data: bytes, *, width: int | None = None) -> str:
    """The same for bytes that may be text."""
    cut = data if width is None else data[: 4 * width]
    return clean(cut.decode("utf-8", "backslashreplace"), width=width)


def clean_lines(text: str) -> str:
    """The same for several lines: all but the first indented."""
    return "\n    ".join(clean(line) for line in text.splitlines())


def span(seconds: float) -> str:
    """A duration in the two largest units that it has."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, size, part in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size} {large} {whole % size // part} {small}"
    raise AssertionError


def moment(at: datetime | None) -> str:
    """A time of day in this machine's time zone, with the zone."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def parse_span(text: str) -> float:
    """``90``, ``1.5h``, ``7d``: seconds. Raises ``ValueError``."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is not a duration like 90, 30s, 10m, 2h, 7d")
    return float(found[1]) * _UNITS[found[2]]


class SpanType(click.ParamType[float]):
    """An option that is a duration."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else parse_span(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def tell(text: str) -> None:
    """Print a line on standard error; if it can't be written, only the exit status tells."""
    with suppress(OSError):
        click.echo(text, err=True)


def tell_of_terminal() -> None:
    """Who typed a command and sees nothing happen should know that it reads what they type."""
    if os.isatty(0):
        tell("sqlite-claims: reading lines from the terminal; Ctrl-D ends them")


def counts_text(counts: Mapping[TaskState, int]) -> str:
    """Counts by task state, on one line."""
    return "  ".join(f"{state.value}: {counts[state]}" for state in TaskState)


def plain_console() -> Console:
    """Standard output; where that is no terminal, nothing is cut or wrapped."""
    from rich.console import Console

    class OurConsole(Console):
        def on_broken_pipe(self) -> None:  # else rich ends the program, with a status that means something here
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    console = OurConsole(highlight=False)
    return console if console.is_terminal else OurConsole(highlight=False, width=10_000)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table. Cells are cleaned already."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output."""
    plain_console().print(make_table(columns, rows))
