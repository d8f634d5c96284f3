"""Each promise of docs/guarantees.md names a test that exists. A full run also checks that all named tests passed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from ..guarantees import PAGE, named_tests
from .pages import ROOT


@pytest.mark.parametrize("name", named_tests())
def test_the_test_of_each_promise_exists(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_promise_names_one_test() -> None:
    promises = PAGE.read_text("utf-8").partition("## No promise")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) == len(named_tests()) > 50
    assert len(set(named_tests())) == len(rows)


def test_a_run_without_a_named_test_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "tests.guarantees", "-p", "no:cacheprovider"]
    command += [f"--basetemp={tmp_path / 'tests'}", "tests/docs/test_guarantees.py", "-k", "names_one"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"did not pass in this run: {named_tests()[0]}" in done.stdout
