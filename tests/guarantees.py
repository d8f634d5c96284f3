"""The tests that docs/guarantees.md names. As a pytest plugin (``-p tests.guarantees``), this module fails a run in
which one of these tests did not pass."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "guarantees.md"


def named_tests() -> list[str]:
    """Return the tests that the page names, as pytest calls the tests."""
    return [f"tests/{name}" for name in re.findall(r"`([\w/]+\.py::\w+)`", PAGE.read_text("utf-8"))]


_passed: set[str] = set()
_skipped: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    name = report.nodeid.partition("[")[0]
    if report.when == "call" and report.passed:
        _passed.add(name)
    elif report.skipped:
        _skipped.add(name)


def unproven() -> list[str]:
    """Return the named tests that did not pass in this run. CI has all tools, so there a skipped test is unproven."""
    in_ci = os.environ.get("SQLITE_CLAIMS_REQUIRE_C") == "1"
    return [name for name in named_tests() if name not in _passed and (in_ci or name not in _skipped)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_worker = hasattr(session.config, "workerinput")  # pytest-xdist reports all results to its first process
    if not is_worker and session.exitstatus == pytest.ExitCode.OK and unproven():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for name in unproven():
        terminalreporter.write_line(f"docs/guarantees.md names a test that did not pass in this run: {name}", red=True)
