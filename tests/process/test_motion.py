"""Signals to a large instance keep nobody waiting, whether what others work on comes before or after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore, TaskState

from .children import Start
from .motion import fill, measure, shown

# Less than any lease that makes sense, and ten times what is measured on a machine that has nothing else to do.
LONGEST_MS_MAX = 1000


@pytest.mark.parametrize("ahead", [True, False], ids=["before", "after"])
def test_who_works_beside_an_instance_that_is_signalled_goes_on(start: Start, tmp_path: Path, ahead: bool) -> None:
    signalled(start, tmp_path / "jobs.db", 5000, ahead)


@pytest.mark.soak
@pytest.mark.parametrize("ahead", [True, False], ids=["before", "after"])
def test_who_works_beside_an_instance_of_a_million_tasks_that_is_signalled_goes_on(
    start: Start, tmp_path: Path, ahead: bool
) -> None:
    longest = signalled(start, tmp_path / "jobs.db", 1_000_000, ahead)
    assert longest < LONGEST_MS_MAX


def signalled(start: Start, path: Path, tasks: int, ahead: bool) -> float:
    """How long (ms) anybody waited at the longest."""
    fill(path, tasks, ahead=ahead)
    measured = measure(start, path, quiet_s=0.2)
    print(f"\n{tasks:,} tasks, work {'before' if ahead else 'after'} them\n{shown(measured)}")
    for _, figures in measured.values():
        assert {"claim", "find", "lock", "stats"} == figures.keys()
    with SqliteClaimStore(path) as store:
        assert store.get_instance("large").counts[TaskState.CANCELLED] == tasks
        assert store.check() == []
    path.unlink()
    return max(longest for _, figures in measured.values() for _, longest, _ in figures.values())
