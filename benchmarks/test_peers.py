"""Tests of the comparison with other queues.

The adapter of this store is always tested. The adapter of a different queue is tested only if its environment is
installed.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from .peers import checks, rounds
from .peers.driver import PeerError, Process, Row
from .peers.environments import peers
from .sizes import SMOKE

ROWS = [Row(peer, setting) for peer in peers() for setting in peer.settings]
OURS = [row for row in ROWS if row.is_ours]
QUICK = {"sqlite_claims", "huey", "litequeue", "persist-queue"}


@pytest.fixture(autouse=True)
def only_untimed(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("benchmark_disable"):
        pytest.skip("python -m benchmarks times these")


@pytest.mark.parametrize("row", [row for row in ROWS if row.peer.name in QUICK], ids=str)
def test_an_adapter_adds_claims_and_completes(row: Row, tmp_path: Path) -> None:
    if not row.peer.is_there:
        pytest.skip("its environment has not been made")
    process = Process(row, tmp_path)
    assert process.ask("add", most=3, seconds=60)["done"] == 3
    process.ask("fill", count=20)
    assert process.ask("waiting") == {"waiting": 23}
    assert process.ask("cycle", most=13, seconds=60)["done"] == 13
    assert process.ask("claim") == {"got": True}
    assert process.ask("waiting") == {"waiting": 9}
    assert not process.ask("complete")["refused"]
    process.end()


@pytest.mark.parametrize("row", OURS, ids=str)
def test_many_at_a_time_are_as_many_as_were_asked_for(row: Row, tmp_path: Path) -> None:
    process = Process(row, tmp_path)
    assert process.ask("add_many", most=30, seconds=60, size=10)["done"] == 30
    assert process.ask("batch", most=20, seconds=60, size=5)["done"] == 20
    assert process.ask("waiting") == {"waiting": 10}
    process.end()


def test_an_empty_queue_is_no_rate(tmp_path: Path) -> None:
    process = Process(OURS[0], tmp_path)
    with pytest.raises(PeerError, match="no task left"):
        process.ask("cycle", most=1, seconds=60)


def test_a_process_that_dies_is_told_apart_from_an_answer(tmp_path: Path) -> None:
    process = Process(OURS[0], tmp_path)
    process.begin("crowd", seconds=60)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(PeerError, match="ended with -9"):
        process.answer()


def test_a_row_that_runs_at_another_synchronous_than_it_says_is_refused(tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.peer.name == "huey" and row.setting.level == "full")
    if not row.peer.is_there:
        pytest.skip("its environment has not been made")
    wrong = Row(row.peer, type(row.setting)("wrong", "", "normal", {}))
    with pytest.raises(PeerError, match="synchronous=full, not at normal"):
        Process(wrong, tmp_path)


def test_the_killed_and_the_late_are_seen(tmp_path: Path) -> None:
    (row, *_) = OURS
    killed, late = tmp_path / "killed", tmp_path / "late"
    killed.mkdir()
    late.mkdir()
    back = checks.seconds_until_back(row, killed)
    assert back is not None
    assert back >= 0.5
    assert checks.late_completion(row, late) == "refused"


def test_a_crowd_is_summed_up() -> None:
    took = [
        {"done": 3, "seconds": 1.0, "waits_us": [1000] * 99, "errors": []},
        {"done": 1, "seconds": 2.0, "waits_us": [9000], "errors": ["locked"]},
    ]
    assert rounds.crowded(took) == {
        "rate": 2.0,
        "share": 1 / 3,
        "p99_ms": 9.0,
        "worst_ms": 9.0,
        "errors": 1,
        "error": "locked",
    }


@pytest.mark.parametrize("case", ["peers", "peers-crowd"])
def test_each_case_gives_figures(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "peers", lambda: [row.peer for row in OURS[:1]])
    figures = list(rounds.figures(SMOKE, case))
    assert {figure.detail["row"] for figure in figures} == {str(row) for row in OURS}
    assert all(figure.value > 0 for figure in figures)
