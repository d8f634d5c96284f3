"""The command line of ``bench``, and what it says about the figures."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click
from rich.console import Console

from ...sqlite.files.paths import check_place, file_system
from ...sqlite.maintenance.baseline import SQLITE_VERSION
from ...sqlite.scan import core_available
from ..signals_as_exceptions import signals_as_exceptions
from ..text import print_table
from . import concurrent, single
from .figures import Figure

_PREFIX = "sqlite-claims-bench-"


@click.command("bench")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, writable=True),
    default=".",
    help="On the disk to be measured; the current folder, if not given.",
)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 3600), default=6.0, show_default=True, help="To measure for, about."
)
@click.option(
    "-j", "--processes", type=click.IntRange(2, 100), default=8, show_default=True, help="How many make a crowd."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def bench_command(folder: str, seconds: float, processes: int, as_json: bool) -> None:
    """Measure what a store does on this machine and this disk, each figure beside a yardstick of the same run.

    It writes about a hundred megabytes into a temporary folder within FOLDER, which it removes in the end. Give it the
    machine alone, and run it twice: what differs then is what one run is not worth.
    """
    folder = os.path.realpath(folder)
    check_place(os.path.join(folder, f"{_PREFIX}.db"), create=True)
    figures = []
    with (
        signals_as_exceptions(),
        _temporary(folder) as made,
        closing(_figures(made, seconds, processes)) as measured,
        Console(stderr=True).status("measuring") as status,
    ):
        for figure in measured:
            figures.append(figure)
            status.update(f"measured: {figure.name.strip()}")
    facts = _facts(folder)
    if as_json:
        entry = {"facts": facts, "figures": [dataclasses.asdict(figure) for figure in figures]}
        click.echo(json.dumps(entry, indent=1))
        return
    print_table(["WHAT", "MEDIAN", "MIDDLE HALF", "BESIDE", "RATIO"], map(_row, figures))
    for sentence in _sentences({figure.key: figure for figure in figures}, processes):
        click.echo(f"\n{sentence}")
    click.echo("\n" + ", ".join(f"{value}" for value in facts.values() if value != ""))


@contextmanager
def _temporary(folder: str) -> Iterator[str]:
    made = tempfile.mkdtemp(prefix=_PREFIX, dir=folder)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def _figures(folder: str, seconds: float, processes: int) -> Generator[Figure]:
    yield single.disk(folder, seconds * 0.05)
    yield from single.figures(folder, seconds * 0.35)
    yield from concurrent.figures(folder, seconds * 0.6, processes)


def _row(figure: Figure) -> list[str]:
    beside = figure.beside if figure.beside_value is None else f"{figure.beside}: {_shown(figure.beside_value, figure)}"
    return [
        figure.name,
        _shown(figure.value, figure),
        f"{_number(figure.low)} to {_number(figure.high)}",
        beside,
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
    ]


def _shown(value: float, figure: Figure) -> str:
    return f"{_number(value)}{figure.unit}" if figure.unit == "/s" else f"{_number(value)} {figure.unit}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _sentences(figures: dict[str, Figure], processes: int) -> Iterator[str]:
    one, many = figures["durable_one"], figures["durable_many"]
    cycle, batch, wake = figures["cycle"], figures["batch"], figures["wake"]
    yield (
        f"With durability=full this disk allows about {_rounded(one.value)} completions a second to one process and "
        f"{_rounded(many.value)} to {processes} of them together; with durability=process one process does about "
        f"{_rounded(cycle.value)} claims and completions a second one at a time, and {_rounded(batch.value)} in "
        f"batches of {single.BATCH}."
    )
    yield (
        f"A process that sleeps has claimed a task {_number(wake.value)} ms after another began to add it. Among "
        f"{processes} that never pause, the slowest gets {figures['crowd_slowest'].value:.0%} of what the fastest gets."
    )


def _rounded(value: float) -> str:
    """To two digits: no run is worth more."""
    return f"{float(f'{value:.2g}'):,.0f}"


def _facts(folder: str) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sqlite_claims": f"sqlite-claims {_version('sqlite-claims')}",
        "scan": "C core" if core_available() else "Python twin (no C core)",
        "python": f"Python {platform.python_version()}",
        "apsw": f"apsw {_version('apsw')}",
        "sqlite": f"SQLite {SQLITE_VERSION}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": f"{os.cpu_count()} cores",
        "file_system": file_system(folder),
        "load": f"load {os.getloadavg()[0]:.2f}",
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
