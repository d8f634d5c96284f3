"""Pausing, resuming or cancelling a large instance delays no other process, whether the other tasks come before or
after the tasks of this instance."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore, TaskState

from .children import Start
from .motion import fill, measure, shown

TASKS = 5000
# Limit on the number of rows that a control call moves in one transaction. The limit includes the rows that a claim
# between two such transactions moves.
ROWS_PER_TRANSACTION_MAX = 1000
# Limit on the longest call: less than any sensible lease, and ten times the duration measured on an idle machine.
LONGEST_MS_MAX = 1000


@pytest.mark.parametrize("ahead", [True, False], ids=["before", "after"])
def test_others_can_claim_between_any_two_short_transactions_of_a_control_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    """The control call pauses between its transactions. In place of each such pause, a second store object claims a
    task, without waiting for a lock."""
    path = tmp_path / "jobs.db"
    fill(path, TASKS, ahead=ahead)
    pauses: list[float] = []
    controls: list[Callable[[SqliteClaimStore], None]] = [
        lambda store: store.pause_instance("large"),
        lambda store: store.resume_instance("large"),
        lambda store: store.cancel_instance("large"),
    ]
    with SqliteClaimStore(path) as store, SqliteClaimStore(path, busy_timeout=0) as other:

        def claim_instead(seconds: float) -> None:
            pauses.append(seconds)
            with monkeypatch.context() as during_the_claim:
                during_the_claim.setattr(time, "sleep", lambda _: pytest.fail("the claim waits"))
                [work] = other.claim_available_tasks("w", 1, 60)
                other.release_tasks([work.claim])

        for control in controls:
            pauses.clear()
            with monkeypatch.context() as during_the_call:
                during_the_call.setattr(time, "sleep", claim_instead)
                control(store)
            assert len(pauses) >= TASKS / ROWS_PER_TRANSACTION_MAX
            assert min(pauses) > 0


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [True, False], ids=["before", "after"])
def test_workers_go_on_while_an_instance_is_paused_resumed_and_cancelled(
    start: Start, tmp_path: Path, ahead: bool
) -> None:
    control_amid_workers(start, tmp_path / "jobs.db", TASKS, ahead)


@pytest.mark.soak
@pytest.mark.parametrize("ahead", [True, False], ids=["before", "after"])
def test_workers_wait_no_second_while_an_instance_of_a_million_tasks_is_paused_resumed_and_cancelled(
    start: Start, tmp_path: Path, ahead: bool
) -> None:
    longest_ms = control_amid_workers(start, tmp_path / "jobs.db", 1_000_000, ahead)
    assert longest_ms < LONGEST_MS_MAX


def control_amid_workers(start: Start, path: Path, tasks: int, ahead: bool) -> float:
    """Return the longest duration of any call of a worker, in ms."""
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
