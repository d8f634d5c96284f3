"""The command line and the report of ``bench``."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import click
from rich.console import Console

from ...sqlite.files.paths import check_place, file_system
from ...sqlite.maintenance.baseline import SQLITE_VERSION
from ...sqlite.scan import core_available
from ..json_format import JsonObject
from ..options import Number, Option, json_option
from ..signals_as_exceptions import signals_as_exceptions
from ..text import Column, print_table
from . import concurrent, single
from .figures import Figure

_PREFIX = "sqlite-claims-bench-"
_COLUMNS = [
    Column("WHAT", "wrap"),
    Column("MEDIAN"),
    Column("MIDDLE HALF"),
    Column("BASELINE", "wrap"),
    Column("RATIO"),
]


@click.command("bench")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, writable=True),
    show_default="current folder",
    default=".",
    cls=Option,
    help="A folder on the disk to measure.",
)
@click.option(
    "--seconds",
    cls=Option,
    metavar="SECONDS",
    type=click.FloatRange(0.1, 3600),
    default=6.0,
    show_default=True,
    help="Approximate duration.",
)
@click.option(
    "-j",
    "--jobs",
    "processes",
    cls=Option,
    aliases=["--processes"],
    metavar="N",
    type=Number(2, 100),
    default=8,
    show_default=True,
    help="Processes in the contention test.",
)
@json_option
def bench_command(folder: str, seconds: float, processes: int, as_json: bool) -> None:
    """Benchmark the task queue on this machine and disk.

    Each figure is the median of several rounds. MIDDLE HALF is the range of the middle half of the rounds. BASELINE is
    a simpler operation that is measured in the same rounds. RATIO is the figure divided by the baseline.

    About 100 MB are written to a temporary folder in FOLDER. The temporary folder is deleted at the end. Run the
    benchmark twice on an idle machine. The difference between the two runs is the noise.
    """
    folder = os.path.realpath(folder)
    check_place(os.path.join(folder, f"{_PREFIX}.db"), create=True)
    figures = []
    with (
        signals_as_exceptions(),
        _temporary_folder(folder) as temporary,
        closing(_measure(temporary, seconds, processes)) as measured,
        Console(stderr=True).status("measuring") as status,
    ):
        for figure in measured:
            figures.append(figure)
            status.update(f"measured: {figure.name.strip()}")
    facts = _facts(folder)
    if as_json:
        click.echo(json.dumps({"facts": facts, "figures": [_figure_entry(figure) for figure in figures]}, indent=1))
        return
    print_table(_COLUMNS, map(_row, figures))
    for sentence in _sentences({figure.key: figure for figure in figures}, processes):
        click.echo(f"\n{sentence}")
    click.echo("\n" + ", ".join(f"{value}" for value in facts.values() if value != ""))


@contextmanager
def _temporary_folder(parent: str) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _measure(folder: str, seconds: float, processes: int) -> Generator[Figure]:
    yield single.disk_figure(folder, seconds=seconds * 0.05)
    yield from single.figures(folder, seconds=seconds * 0.35)
    yield from concurrent.figures(folder, seconds=seconds * 0.6, processes=processes)


def _figure_entry(figure: Figure) -> JsonObject:
    """Return a figure as JSON. The key for the baseline is ``beside``, because existing programs read the value under
    this key."""
    return {
        "key": figure.key,
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
        "low": figure.low,
        "high": figure.high,
        "beside": figure.baseline,
        "beside_value": figure.baseline_value,
        "ratio": figure.ratio,
    }


def _row(figure: Figure) -> list[str]:
    baseline = figure.baseline
    if figure.baseline_value is not None:
        baseline += f": {_with_unit(figure.baseline_value, figure.unit)}"
    return [
        figure.name,
        _with_unit(figure.value, figure.unit),
        f"{_number(figure.low)} to {_number(figure.high)}",
        baseline,
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
    ]


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value)}{unit}" if unit == "/s" else f"{_number(value)} {unit}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _sentences(figures: dict[str, Figure], processes: int) -> Iterator[str]:
    one, many = figures["durable_one"], figures["durable_many"]
    cycle, batch, wake = figures["cycle"], figures["batch"], figures["wake"]
    yield (
        f"With durability=full, this disk allows about {_two_digits(one.value)} completions per second with one "
        f"process, and {_two_digits(many.value)} with {processes} processes. With durability=process, one process "
        f"claims and completes about {_two_digits(cycle.value)} tasks per second one at a time, and "
        f"{_two_digits(batch.value)} in batches of {single.BATCH_TASKS}."
    )
    yield (
        f"A waiting process has claimed a new task {_number(wake.value)} ms after another process began to add it. Of "
        f"{processes} processes that never pause, the slowest completes {figures['crowd_slowest'].value:.0%} of what "
        "the fastest completes."
    )


def _two_digits(value: float) -> str:
    """Round a number to two digits, because the result of one run is not more precise."""
    return f"{float(f'{value:.2g}'):,.0f}"


def _facts(folder: str) -> JsonObject:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sqlite_claims": f"sqlite-claims {_version('sqlite-claims')}",
        "scan": "C core" if core_available() else "Python scan (no C core)",
        "python": f"Python {platform.python_version()}",
        "apsw": f"apsw {_version('apsw')}",
        "sqlite": f"SQLite {SQLITE_VERSION}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": f"{os.cpu_count()} cores",
        "file_system": file_system(folder),
        "load": f"load {os.getloadavg()[0]:.2f}",
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
