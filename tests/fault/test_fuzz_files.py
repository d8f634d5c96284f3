"""Files damaged at random: every call returns or raises one of this library's errors, and no process crashes or
hangs."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from . import fuzz_files


def try_seeds(first: int, count: int) -> str:
    """Run ``fuzz_files`` with these seeds in a separate process. Return the last line that the process prints."""
    command = [sys.executable, "-m", fuzz_files.__name__, str(first), str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    *_, last = done.stdout.splitlines()
    assert done.returncode == 0, f"{last}: exit status {done.returncode}"
    return last


@pytest.mark.soak
def test_damaged_files_raise_our_errors_alone_and_crash_no_process() -> None:
    outcomes = try_seeds(1, 15)
    assert "StoreCorruptError" in outcomes
    assert "done" in outcomes


@pytest.mark.soak
def test_files_damaged_in_thousands_of_ways_raise_our_errors_alone() -> None:
    print(try_seeds(random.randrange(2**31), 3000))
