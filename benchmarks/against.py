"""``python -m benchmarks.against REVISION``: instructions and system calls per operation, compared with another commit.

Both are counted, not timed, so that the ratio holds on a busy machine: instructions by ``valgrind --tool=callgrind``,
system calls by ``strace -c``. Each operation runs twice, with few and with many repetitions; the difference is what the
repetitions cost, without starting Python and opening the store.
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
    """The cost of one operation, in the mean."""

    instructions: float
    system_calls: float


def main() -> None:
    """Print the costs; exit with 1 where one is more than allowed."""
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
    """Install the commit into an environment of its own. Returns that environment's Python."""
    source, venv = folder / "source", folder / "venv"
    source.mkdir()
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = str(venv / "bin" / "python")
    # The same apsw, which is most of what is counted.
    version = subprocess.run(
        [sys.executable, "-c", "import apsw; print(apsw.apsw_version())"], check=True, capture_output=True, text=True
    ).stdout.strip()
    subprocess.run([python, "-m", "pip", "install", "-q", source, f"apsw=={version}"], check=True)
    return python


def cost(python: str, operation: str) -> Cost:
    """Count what one operation costs with the package that ``python`` has installed."""
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
    """Run the child under a tool and return the tool's report."""
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
