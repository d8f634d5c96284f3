"""Histories of many processes with kills, stops, forks and full disks: each claim has only one holder at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ..fault.conftest import mount
from .run import Run

__all__ = ["mount"]

KILLS = 15


def test_the_history_of_processes_with_kills_and_stops_is_possible(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    told = Run(tmp_path / "jobs.db", logs, 1)(8, 20_000, kills=KILLS, fills=False)
    print(told)
    assert told.faults == []
    assert told.unknown
    assert told.lost


@pytest.mark.slow
def test_the_history_of_processes_on_a_disk_that_is_full_at_times_is_possible(
    tmp_path: Path, mount: Callable[..., Path]
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    told = Run(mount("32m") / "jobs.db", logs, 3)(8, 20_000, kills=KILLS, fills=True)
    print(told)
    assert told.faults == []
    assert told.filled


@pytest.mark.soak
def test_the_history_of_64_processes_is_possible(tmp_path: Path, mount: Callable[..., Path]) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    seconds = float(os.environ.get("SQLITE_CLAIMS_HISTORY_SECONDS", "1200"))
    run = Run(mount("1024m") / "jobs.db", logs, os.getpid())
    told = run(64, 1_000_000, kills=1 << 30, fills=True, seconds=seconds)
    print(told)
    print(told)
    assert told.faults == []
