"""Random histories like those of test_model.py, but the process that pauses, resumes or cancels an instance dies as
soon as the call has taken effect. Then the rows are moved one by one. The visible state and the order of tasks do not
depend on the number of rows that have been moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims.sqlite.backend import SqliteBackend
from sqlite_claims.sqlite.operations import control, sweep

from .machine import explore


@pytest.fixture(autouse=True)
def _killed_after_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteBackend, "_moves", lambda _: ())
    monkeypatch.setattr(control, "ROWS_PER_MOVE", 1)
    # There is no rest period between sweeps, so the next search settles expired last claims.
    monkeypatch.setattr(sweep, "REST_US", 0)


@pytest.mark.slow
@pytest.mark.parametrize("strays_max", [0, 5000])
def test_a_paused_or_cancelled_instance_looks_the_same_on_its_way(
    make_bench: Callable[..., Any], implementations: list[str], monkeypatch: pytest.MonkeyPatch, strays_max: int
) -> None:
    monkeypatch.setattr(control, "STRAYS_MAX", strays_max)
    explore(make_bench, implementations, derandomize=True, max_examples=60, stateful_step_count=60)


@pytest.mark.soak
def test_a_paused_or_cancelled_instance_looks_the_same_on_its_way_for_long(
    make_bench: Callable[..., Any], implementations: list[str]
) -> None:
    explore(make_bench, implementations, derandomize=False, max_examples=1000, stateful_step_count=120)
