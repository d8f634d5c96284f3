"""Tests that each operation of ``benchmarks.against`` runs and that the operation's cost is counted."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from . import against, against_child


@pytest.mark.parametrize("operation", against_child.OPERATIONS)
def test_each_compared_operation_runs(operation: str, tmp_path: Path) -> None:
    against_child.main(str(tmp_path), operation, against_child.BATCH)


@pytest.mark.skipif(shutil.which("strace") is None, reason="counts by strace")
def test_more_operations_make_more_system_calls() -> None:
    few, many = (against._system_calls(sys.executable, "find", times) for times in (10, 60))
    assert many > few
