"""Tests of the figures that ``python -m benchmarks`` measures.

These tests run only if timing is disabled, because pytest would not interleave the rounds.
"""

from __future__ import annotations

import apsw
import pytest

from . import layouts, machine, report
from .bench import Bench
from .sizes import SMOKE
from .stores import Stores
from .targets import CASES


@pytest.fixture(autouse=True)
def only_untimed(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("benchmark_disable"):
        pytest.skip("python -m benchmarks times these")


@pytest.mark.parametrize("case", CASES)
def test_each_case_gives_figures(case: str, bench: Bench) -> None:
    for figure in CASES[case](bench):
        assert figure.value >= 0
        assert figure.name in report.line(figure)


def test_each_layout_can_still_be_made_from_the_schema() -> None:
    names = [figure.name for figure in layouts.figures(SMOKE)]
    assert len(names) == len(set(names))
    assert all(any(name.startswith(layout.name) for name in names) for group in layouts.COMPARED for layout in group)


def test_results_tell_what_they_depend_on(stores: Stores) -> None:
    facts = machine.facts(stores.folder)
    assert facts["sqlite"] == apsw.sqlite_lib_version()
    assert facts["fdatasync_us"] > 0
    assert facts["commit_us"] > 0
