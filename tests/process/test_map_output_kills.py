"""``map`` is killed at any moment, repeatedly: no output is lost, and only output of lines that were running is printed
twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore, TaskState

from ..tiers import first_is_fast
from .map_runs import COMMAND, PATIENCE, wait_for

JOBS = 3
LINES = [f"line{number}" for number in range(150)]
# Each command prints three lines. The middle line is several pages long, so that ``map`` may be killed within a write.
PROGRAM = """
import sys
name = sys.argv[1]
sys.stdout.write(f"begin {name}\\n{name * 2000}\\nend {name}\\n")
"""


def printed(name: str) -> list[str]:
    return [f"begin {name}", name * 2000, f"end {name}"]


@pytest.mark.parametrize("kills", [6, pytest.param(300, marks=pytest.mark.soak)])
@pytest.mark.parametrize("durability", first_is_fast(["process", "full"]))
def test_no_output_is_lost_however_often_map_is_killed(tmp_path: Path, kills: int, durability: str) -> None:
    chance = random.Random(kills)
    out = tmp_path / "out"
    out.touch()
    rounds, killed = 0, 0
    while killed < kills:
        lines = [f"{rounds}-{line}" for line in LINES]
        while killed < kills:
            process = _start(tmp_path, out, lines, durability)
            _wait_for_output(process, out, out.stat().st_size + chance.randrange(2 * 8192))
            if process.poll() is not None:
                break
            process.kill()
            process.wait()
            killed += 1
        assert _start(tmp_path, out, lines, durability).wait(PATIENCE) == 0
        rounds += 1
    _look_at(out, [f"{number}-{line}" for number in range(rounds) for line in LINES], JOBS * kills)
    with SqliteClaimStore(tmp_path / "jobs.db", read_only=True) as store:
        assert store.stats().counts[TaskState.COMPLETED] == rounds * len(LINES)
        assert store.check() == []


@pytest.mark.slow
def test_no_output_is_lost_when_commands_are_killed_with_their_map(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.touch()
    for number in range(5):
        process = _start(tmp_path, out, LINES, "process")
        _wait_for_output(process, out, out.stat().st_size + 5_000 * number)
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        process.kill()
        process.wait()
    assert _start(tmp_path, out, LINES, "process").wait(PATIENCE) == 0
    _look_at(out, LINES, 5 * JOBS)


def _start(folder: Path, out: Path, lines: list[str], durability: str) -> subprocess.Popen[bytes]:
    (folder / "lines").write_text("".join(f"{line}\n" for line in lines))
    options = ["-q", "-j", str(JOBS), "--instance", "n", "--retries", "100", "--durability", durability]
    command = ["--", sys.executable, "-S", "-E", "-c", PROGRAM, "{}"]
    with out.open("ab") as opened, (folder / "err").open("ab") as err:
        return subprocess.Popen(
            [*COMMAND, "map", str(folder / "jobs.db"), str(folder / "lines"), *options, *command],
            stdout=opened,
            stderr=err,
        )


def _wait_for_output(process: subprocess.Popen[bytes], out: Path, size: int) -> None:
    at_least: Callable[[], bool] = lambda: out.stat().st_size >= size or process.poll() is not None  # noqa: E731
    wait_for(at_least, f"{size} bytes of output")


def _look_at(out: Path, names: list[str], twice_max: int) -> None:
    """Assert that the output contains the complete lines of each command in order, at least once. All other text must
    be the beginning of such lines, cut off by a kill."""
    whole = {line: name for name in names for line in printed(name)}
    seen: Counter[str] = Counter()
    cut = 0
    for line in out.read_text().splitlines():
        if line in whole:
            seen[line] += 1
        else:
            cut += 1
            assert any(candidate.startswith(line) for candidate in whole), line[:100]
    assert seen.keys() == whole.keys()
    assert sum(seen[f"end {name}"] - 1 for name in names) <= twice_max
    assert cut <= twice_max
