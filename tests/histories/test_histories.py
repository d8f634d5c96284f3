"""Histories of many processes, amid kills, stops, forks and full disks, fit claims with one holder at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ..fault.conftest import mount
from .run import Run

__all__ = ["mount"]

KILLS = 15


def test_what_processes_saw_amid_kills_and_stops_can_have_happened(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    told = Run(tmp_path / "jobs.db", logs, 1)(8, 20_000, kills=KILLS, fills=False)
    print(told)
    assert told.faults == []
    assert told.unknown
    assert told.lost


@pytest.mark.slow
def test_what_processes_saw_on_a_disk_that_is_full_now_and_then_can_have_happened(
    tmp_path: Path, mount: Callable[..., Path]
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    told = Run(mount("32m") / "jobs.db", logs, 3)(8, 20_000, kills=KILLS, fills=True)
    print(told)
    assert told.faults == []
    assert told.filled


@pytest.mark.soak
def test_what_64_processes_saw_can_have_happened(tmp_path: Path, mount: Callable[..., Path]) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    seconds = float(os.environ.get("SQLITE_CLAIMS_HISTORY_SECONDS", "1200"))
    run = Run(mount("1024m") / "jobs.db", logs, os.getpid())
    told = run(64, 1_000_000, kills=1 << 30, fills=True, seconds=seconds)
    print(told)
    print(told)
    assert told.faults == []
