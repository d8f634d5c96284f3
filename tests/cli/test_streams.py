"""Every command with standard streams that are closed, full, or connected to a reader that has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from sqlite_claims import NewTask, SqliteClaimStore
from sqlite_claims.cli.map.main import _report_problems
from sqlite_claims.cli.map.plan import Outcome
from sqlite_claims.cli.map.progress import QuietDisplay

from ..tiers import first_is_fast

COMMANDS = {
    "status": ["status", "{db}"],
    "ls": ["ls", "{db}", "--json"],
    "show": ["show", "{db}", "i"],
    "top": ["top", "{db}", "--once"],
    "check": ["check", "{db}"],
    "add": ["add", "{db}", "j", "{lines}"],
    "retry": ["retry", "{db}", "i"],
    "prune": ["prune", "{db}", "--older-than", "30d"],
    "map": ["map", "{db}", "{lines}", "--", "echo"],
    "--help": ["--help"],
    "--version": ["--version"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        store.add_instance("i", [NewTask(f"t{number}") for number in range(2000)])
    (tmp_path / "lines").write_text("a\n")
    return tmp_path


def run(
    folder: Path, args: list[str], *, out: IO[bytes] | int = subprocess.PIPE, err: IO[bytes] | int = subprocess.PIPE,
    close: int | None = None,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    filled = [arg.format(db=folder / "jobs.db", lines=folder / "lines") for arg in args]
    return subprocess.run(
        [sys.executable, "-m", "sqlite_claims", *filled],
        stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60, check=False,
        preexec_fn=None if close is None else lambda: os.close(close),
    )  # fmt: skip


@pytest.mark.parametrize("name", first_is_fast(COMMANDS))
def test_output_that_cannot_be_written_is_status_2_and_one_line(folder: Path, name: str) -> None:
    with open("/dev/full", "wb") as full:
        ended = run(folder, COMMANDS[name], out=full)
    assert ended.returncode == 2
    assert b"No space left on device" in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("name", first_is_fast(COMMANDS))
def test_output_that_nobody_reads_is_status_141(folder: Path, name: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        ended = run(folder, COMMANDS[name], out=nobody)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (141, False)


@pytest.mark.parametrize("descriptor", [0, 1, 2])
@pytest.mark.parametrize("name", first_is_fast(COMMANDS))
def test_a_closed_standard_descriptor_is_as_dev_null(folder: Path, name: str, descriptor: int) -> None:
    ended = run(folder, COMMANDS[name], close=descriptor)
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "args", first_is_fast([["status", "{db}.missing"], ["ls", "{db}", "nope"], ["nonsense"], ["map", "{db}"]])
)
@pytest.mark.parametrize("how", ["full", "nobody", "closed"])
def test_an_error_that_cannot_be_told_keeps_its_status(folder: Path, args: list[str], how: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with open("/dev/full", "wb") as full, os.fdopen(write, "wb") as nobody:
        streams: dict[str, IO[bytes] | int] = {"full": full, "nobody": nobody, "closed": subprocess.DEVNULL}
        assert run(folder, args, err=streams[how], close=2 if how == "closed" else None).returncode == 2


@pytest.mark.parametrize("command", ["ls", "status"])
def test_a_number_that_is_too_large_is_status_2(folder: Path, command: str) -> None:
    ended = run(folder, [command, "{db}", "--limit", "9" * 30])
    assert (ended.returncode, b"--limit" in ended.stderr, b"Traceback" in ended.stderr) == (2, True, False)


def test_the_error_that_ended_a_map_is_reported_in_the_commands_terms(capfd: pytest.CaptureFixture[str]) -> None:
    problem = "jobs.db: file not found (create=True creates it)"
    outcome = Outcome(
        status=2,
        problem=problem,
        completed=0,
        failed=0,
        lost=0,
        unwritten=0,
        done_before=0,
        began_empty=False,
        failures=(),
    )
    _report_problems(outcome, QuietDisplay())
    assert capfd.readouterr().err == "sqlite-claims: jobs.db: file not found (it is created by add and map)\n"
