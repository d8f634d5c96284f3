"""``python -m benchmarks.against REVISION``: instructions and system calls per operation, compared with another commit.

Instructions are counted by ``valgrind --tool=callgrind``, system calls by ``strace -c``. No times are measured, so the
ratios are also valid on a busy machine. Each operation runs twice, with few and with many repetitions. The difference
of the two counts is the cost of the repetitions, without the start of Python and the opening of the store.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import against_child
from .machine import ROOT

FEW, MANY = 200, 1000
_CHILD = Path(against_child.__file__)


@dataclass(frozen=True, slots=True)
class Cost:
    """The average cost of one operation."""

    instructions: float
    system_calls: float


def main() -> None:
    """Print the costs; exit with status 1 if a cost has grown by more than ``--at-most``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("revision", help="the commit to compare with")
    parser.add_argument("operation", nargs="*", choices=[*against_child.OPERATIONS, []], help="all if none is named")
    parser.add_argument("--at-most", type=float, metavar="PERCENT", help="exit with 1 where a cost has grown by more")
    asked = parser.parse_args()
    for tool in ("valgrind", "strace"):
        if shutil.which(tool) is None:
            parser.error(f"needs {tool}, which is not installed")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        before = _install(asked.revision, Path(folder))
        for operation in asked.operation or against_child.OPERATIONS:
            old, new = cost(before, operation), cost(sys.executable, operation)
            grown = [_percent(old.instructions, new.instructions), _percent(old.system_calls, new.system_calls)]
            worst = max(worst, *grown)
            instructions = f"{old.instructions:8,.0f} -> {new.instructions:8,.0f} ({grown[0]:+.2f} %)"
            calls = f"{old.system_calls:6.2f} -> {new.system_calls:6.2f} ({grown[1]:+.2f} %)"
            print(f"{operation:14} instructions {instructions}   system calls {calls}", flush=True)
    if asked.at_most is not None and worst > asked.at_most:
        sys.exit(1)


def _install(revision: str, folder: Path) -> str:
    """Install the commit into a new virtual environment. Return the path of this environment's Python."""
    source, venv = folder / "source", folder / "venv"
    source.mkdir()
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = str(venv / "bin" / "python")
    # The new environment gets the same version of apsw, because most of the counted instructions are in apsw.
    version = subprocess.run(
        [sys.executable, "-c", "import apsw; print(apsw.apsw_version())"], check=True, capture_output=True, text=True
    ).stdout.strip()
    subprocess.run([python, "-m", "pip", "install", "-q", source, f"apsw=={version}"], check=True)
    return python


def cost(python: str, operation: str) -> Cost:
    """Count the cost of one operation with the sqlite_claims package that is installed for ``python``."""
    few, many = (
        (_instructions(python, operation, times), _system_calls(python, operation, times)) for times in (FEW, MANY)
    )
    return Cost(*((more - less) / (MANY - FEW) for less, more in zip(few, many, strict=True)))


def _instructions(python: str, operation: str, times: int) -> int:
    told = _run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"], python, operation, times)
    match = re.search(r"Collected : (\d+)", told)
    assert match is not None, told
    return int(match[1])


def _system_calls(python: str, operation: str, times: int) -> int:
    told = _run(["strace", "-f", "-qq", "-c"], python, operation, times)
    [total] = [line.split() for line in told.splitlines() if line.endswith(" total")]
    return int(total[3])


def _run(tool: list[str], python: str, operation: str, times: int) -> str:
    """Run ``against_child.py`` under a tool and return the tool's report."""
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(
            [*tool, python, str(_CHILD), folder, operation, str(times)],
            check=True,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
    return ended.stderr


def _percent(old: float, new: float) -> float:
    return 100 * (new / old - 1) if old else 0.0


if __name__ == "__main__":
    main()
