"""Tests that all processes of a crew start at the same time, and that the failure of a process is reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from sqlite_claims import SqliteClaimStore, TaskState

from .crew import Crew
from .pairs import percentile
from .stores import Stores


@pytest.fixture
def crew() -> Iterator[Crew]:
    with closing(Crew(2)) as both:
        yield both


@pytest.mark.parametrize("sqlites_handler", [False, True])
@pytest.mark.parametrize("batch", [1, 5])
def test_the_store_has_all_results_that_each_process_reports(
    crew: Crew, stores: Stores, batch: int, sqlites_handler: bool
) -> None:
    path = stores.copied(20_000)
    done = crew.work("crowd", 2, 0.05, path, batch=batch, sqlites_handler=sqlites_handler)
    # Each process does one cycle before the start.
    told = sum(each["tasks"] + batch for each in done)
    with SqliteClaimStore(path) as store:
        assert store.stats().counts[TaskState.COMPLETED] == told
    assert all(len(each["claims"]) == len(each["completions"]) == each["tasks"] // batch for each in done)


def test_a_worker_that_fails_ends_the_run(stores: Stores, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(Crew(2)) as crew, pytest.raises(RuntimeError, match="has ended"):
        crew.work("crowd", 2, 60.0, stores.copied(50), batch=1, sqlites_handler=False)
    assert "the tasks did not last" in capfd.readouterr().err


def test_a_percentile_is_a_value_that_occurred() -> None:
    values = [float(number) for number in range(1, 1001)]
    assert [percentile(values, percent) for percent in (50, 99, 99.9, 100)] == [500, 990, 999, 1000]
    assert percentile([7.0], 99) == 7
