"""``sqlite-claims work``: real worker processes with handlers from a module in the current folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from .conftest import Cli

_HANDLERS = """
import os

def upper(ctx):
    return ctx.input.upper()

def fail(ctx):
    raise ValueError("no good")

def quote(ctx):
    raise ValueError("no \\x1b[2J\\x9b good:\\n\\tü")

def tell(ctx):
    with open(os.environ["TOLD"], "w") as told:
        told.write("working")

handlers = {"upper": upper, "fail": fail, "quote": quote, "tell": tell}
"""


@pytest.fixture
def worker(cli: Cli) -> list[str]:
    cli.file("jobs_of_mine.py", _HANDLERS)
    return [sys.executable, "-m", "sqlite_claims", "work", str(cli.db), "jobs_of_mine:handlers", "-j", "1"]


def _environment(cli: Cli) -> dict[str, str]:
    import sqlite_claims

    here = os.path.dirname(os.path.dirname(sqlite_claims.__file__))
    return {**os.environ, "PYTHONPATH": here, "TOLD": str(cli.folder / "told")}


def _run(cli: Cli, argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=cli.folder, env=_environment(cli), capture_output=True, text=True, timeout=60, check=False
    )


def test_work_is_done_until_there_is_none(cli: Cli, worker: list[str]) -> None:
    cli("add", "one", cli.file("in", "a\nb\n"), "--kind", "upper")
    ended = _run(cli, [*worker, "--until-idle"])
    assert (ended.returncode, ended.stderr) == (0, "sqlite-claims: idle; attempts: 2 completed, 0 failed, 0 lost\n")
    with cli.store() as store:
        assert {task.output for task in store.list_tasks("one")} == {b"A", b"B"}


def test_a_failed_task_makes_the_status_1(cli: Cli, worker: list[str]) -> None:
    cli("add", "one", cli.file("in", "a\n"), "--kind", "fail", "--max-attempts", "1")
    ended = _run(cli, [*worker, "--until-idle"])
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.endswith("\nsqlite-claims: idle; attempts: 0 completed, 1 failed, 0 lost\n")


def test_an_interrupt_ends_it_with_status_130(cli: Cli, worker: list[str]) -> None:
    cli("add", "one", cli.file("in", "a\n"), "--kind", "tell")
    told = cli.folder / "told"
    os.mkfifo(told)
    with subprocess.Popen(worker, cwd=cli.folder, env=_environment(cli), stderr=subprocess.PIPE) as process:
        assert told.read_text() == "working"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_handlers_that_are_not_there_are_one_line_of_error(cli: Cli, worker: list[str]) -> None:
    cli("add", "one", cli.file("in", "a\n"))
    ended = _run(cli, [*worker[:5], "no_such_module:handlers"])
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("sqlite-claims: worker processes crash on start-up")
    assert _run(cli, [*worker[:5], "nonsense"]).returncode == 2


def test_a_wrong_name_of_the_file_is_an_error(cli: Cli, worker: list[str]) -> None:
    assert _run(cli, [*worker, "--until-idle"]).returncode == 2
    assert not cli.db.exists()


@pytest.mark.parametrize("options", [[], ["-v"]])
def test_failures_are_logged_to_standard_error_and_with_v_starts_and_completions_too(
    cli: Cli, worker: list[str], options: list[str]
) -> None:
    cli("add", "one", cli.file("in", "a\n"), "--kind", "fail", "--max-attempts", "1")
    cli("add", "two", cli.file("in", "a\n"), "--kind", "upper")
    ended = _run(cli, [*worker, *options, "--until-idle"])
    assert re.search(r"ERROR sqlite_claims\.tasks: task '.*' of instance 'one' failed permanently", ended.stderr)
    assert "ValueError: no good" in ended.stderr
    told = re.search(r"INFO sqlite_claims\.tasks: task '.*' of instance 'two' completed in ", ended.stderr)
    assert bool(told) is bool(options)


def test_log_lines_have_times_with_their_zone_and_steer_no_terminal(cli: Cli, worker: list[str]) -> None:
    cli("add", "one", cli.file("in", "a\n"), "--kind", "quote", "--max-attempts", "1")
    ended = subprocess.run(
        [*worker, "--until-idle"], cwd=cli.folder, env={**_environment(cli), "TZ": "XYZ-3", "PYTHONUTF8": "1"},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    told = ended.stderr.decode()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} XYZ ERROR sqlite_claims\.tasks: ", told)
    assert "ValueError: no \\x1b[2J\\x9b good:\n        ü\n" in told
    assert all(character.isprintable() for character in told.replace("\n", ""))
