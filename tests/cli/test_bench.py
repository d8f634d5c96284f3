"""``sqlite-claims bench`` prints measurements. It removes its files, no matter how it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sqlite_claims.cli.bench import figures
from sqlite_claims.sqlite.files import paths

from ..tiers import first_is_fast
from .conftest import Cli

_PATIENCE = 60.0
QUICK = ["--seconds", "0.1", "-j", "2"]


def test_each_figure_stands_beside_what_was_measured_in_the_same_run(cli: Cli) -> None:
    result = cli.raw("bench", "--folder", cli.folder, *QUICK, "--json")
    assert result.status == 0
    found = {figure["key"]: figure for figure in result.json["figures"]}
    assert list(found) == [
        *("sync", "add", "cycle", "batch", "find", "crowd", "crowd_slowest", "crowd_claim_p99"),
        *("durable_one", "durable_many", "wake", "wake_p99"),
    ]
    for figure in found.values():
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"]
    for key in ("add", "cycle", "batch", "find", "crowd", "durable_one", "durable_many", "wake"):
        assert found[key]["beside_value"] > 0
        assert found[key]["ratio"] > 0
    assert found["durable_one"]["beside_value"] == found["durable_many"]["beside_value"]
    assert 0 <= found["crowd_slowest"]["value"] <= 1
    assert result.json["facts"]["file_system"] == paths.file_system(str(cli.folder))
    assert list(cli.folder.iterdir()) == []


@pytest.mark.slow
def test_it_says_in_sentences_what_the_disk_allows(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cli.folder)
    result = cli.raw("bench", *QUICK)
    assert result.status == 0
    assert "With durability=full, this disk allows about " in result.out
    assert " with 2 processes" in result.out
    assert "claim and complete, one at a time" in result.out
    assert list(cli.folder.iterdir()) == []


@pytest.mark.parametrize("number", first_is_fast([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
def test_interrupted_it_removes_what_it_made_and_ends_its_processes(cli: Cli, number: signal.Signals) -> None:
    with _at_work(cli.folder) as (process, folder):
        children = _children(process.pid)
        process.send_signal(number)
        assert process.wait(_PATIENCE) == 128 + number
        assert list(cli.folder.iterdir()) == []
        assert not folder.exists()
        assert not any(os.path.exists(f"/proc/{child}") for child in children)


@pytest.mark.slow
def test_the_processes_of_a_crowd_end_when_their_parent_is_killed(cli: Cli) -> None:
    with _at_work(cli.folder) as (process, folder):
        children = [os.pidfd_open(child) for child in _children(process.pid)]
        process.kill()
        process.wait()
        for child in children:
            assert select.select([child], [], [], _PATIENCE)[0]
            os.close(child)
        assert folder.exists()  # a killed process does not remove its folder


@contextmanager
def _at_work(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start the command and wait until its processes are working. Without a signal, the processes would never end."""
    command = [sys.executable, "-m", "sqlite_claims", "bench", "--folder", str(folder), *QUICK]
    code = f"""
import sys, time
from sqlite_claims.cli.bench import concurrent
from sqlite_claims.cli.app import run
def turn(children, what, length):
    for child in children:
        child.send(what, time.monotonic(), time.monotonic() + 0.2)
    print("working", flush=True)
    while True:  # short sleeps, because a signal that comes just before a sleep is handled after the sleep
        time.sleep(0.01)
concurrent._measure_turn = turn
sys.exit(run({command[3:]!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        try:
            yield process, next(folder.iterdir())
        finally:
            process.kill()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_network_file_system_is_refused_before_anything_is_written(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_file_system", lambda *_: "nfs4")
    result = cli.raw("bench", "--folder", cli.folder, *QUICK)
    assert result.status == 2
    assert "network file system (nfs4)" in result.err
    assert list(cli.folder.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_wrong_use(cli: Cli) -> None:
    assert cli.raw("bench", "--folder", cli.folder / "nope").status == 2


def test_a_figure_is_the_median_with_the_ratio_of_neighbours() -> None:
    made = figures.make_figure(
        "key", "name", [1.0, 2.0, 30.0], unit="/s", baseline="baseline", baseline_samples=[2.0, 4.0, 20.0]
    )
    assert (made.low, made.value, made.high) == (1.5, 2.0, 16.0)
    assert (made.baseline_value, made.ratio) == (4.0, 0.5)
    assert figures.percentile_99([3.0, 1.0, 2.0]) == 3.0
    assert figures.percentile_99([float(number) for number in range(1000)]) == 990.0
