"""Input of ``add`` and ``map``: pipes that other processes have made non-blocking, unreadable files, and errors that
are found before any task is added."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from sqlite_claims import NewTask, SqliteClaimStore
from sqlite_claims.cli import add
from sqlite_claims.cli.map.lines import LineSource
from sqlite_claims.errors import InvalidArgumentError, StoreUnavailableError

from .conftest import Cli

UNREADABLE = "/proc/self/mem"  # this file can be opened, but a read at offset 0 fails with EIO


@pytest.mark.parametrize(
    "command", [["add", "jobs.db", "i"], ["map", "jobs.db", "-q", "--instance", "i", "--", "true"]]
)
def test_a_pipe_that_is_non_blocking_is_read_to_its_end(cli: Cli, command: list[str]) -> None:
    given, give = os.pipe()
    os.set_blocking(given, False)
    process = subprocess.Popen([sys.executable, "-m", "sqlite_claims", *command], stdin=given, cwd=cli.folder)
    os.close(given)
    # The data is larger than a pipe's buffer. The test can write the last part only after the command has read the
    # first part. Before the last part is written, the command finds the pipe empty.
    with open(give, "wb", buffering=0) as pipe:
        pipe.writelines(b"%d" % number * 10_000 + b"\n" for number in range(20))
    assert process.wait(60) == 0
    with cli.store() as store:
        assert sum(1 for _ in store.list_tasks("i")) == 20


def test_a_non_blocking_pipe_without_anything_in_it_is_not_at_its_end(cli: Cli) -> None:
    given, give = os.pipe()
    os.set_blocking(given, False)
    script = (
        "import os, select, sys\n"
        "from sqlite_claims.cli.app import run\n"
        "real = os.readv\n"
        "def readv(*args):\n"
        "    try:\n"
        "        return real(*args)\n"
        "    except BlockingIOError:\n"
        "        os.write(1, b'empty')\n"
        "        raise\n"
        "os.readv = readv\n"
        "sys.exit(run(['add', 'jobs.db', 'i']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cli.folder
    )
    os.close(given)
    assert process.stdout is not None
    assert process.stdout.read(5) == b"empty"
    os.write(give, b"one\npart")
    os.write(give, b"ial")
    os.close(give)
    assert process.communicate(timeout=60)[0].endswith(b"2 tasks added to i\n")
    with cli.store() as store:
        assert sorted(task.input for task in store.list_tasks("i")) == [b"one", b"partial"]


@pytest.mark.skipif(not os.path.exists(UNREADABLE), reason="no such file here")
@pytest.mark.parametrize("command", [["add", "{db}", "i", "{file}"], ["map", "{db}", "{file}", "--", "true"]])
def test_an_input_that_cannot_be_read_is_named(cli: Cli, command: list[str]) -> None:
    result = cli.raw(*(arg.format(db=cli.db, file=UNREADABLE) for arg in command))
    assert result.status == 2
    assert f"cannot read {UNREADABLE}: Input/output error" in result.err.replace("'", "")
    assert "write" not in result.err


@pytest.mark.skipif(not os.path.exists(UNREADABLE), reason="no such file here")
def test_running_commands_may_finish_if_the_input_of_map_cannot_be_read_on(cli: Cli) -> None:
    lines = cli.file("lines", "a\n")
    command = ["sh", "-c", "sleep 0.3; echo ended", "sh"]
    result = cli("map", lines, UNREADABLE, "-q", "-j", 1, "--instance", "i", "--", *command)
    assert (result.status, result.out) == (2, "ended\n")
    assert result.err == f"sqlite-claims: cannot read '{UNREADABLE}': Input/output error\n"


def test_a_source_without_names_says_what_it_is(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    source = LineSource([folder])
    with pytest.raises(InvalidArgumentError, match="cannot read the input: Is a directory"):
        source.take(1)
    source.close()


@pytest.mark.parametrize("name", ["", "*", "x" * 257])
def test_a_name_that_is_none_is_told_by_its_option(cli: Cli, name: str) -> None:
    result = cli("map", cli.file("lines", "a\n"), "--instance", name, "--", "true")
    assert result.status == 2
    assert result.err.startswith("sqlite-claims: --instance ")
    assert not cli.db.exists()


def test_an_error_in_the_first_tasks_leaves_a_database_without_a_store_as_it_is(cli: Cli) -> None:
    connection = apsw.Connection(os.fspath(cli.db))
    connection.execute("CREATE TABLE mine (a)")
    connection.close()
    before = cli.db.read_bytes()
    result = cli("add", "i", cli.file("lines", '{"task_id": "a", "depends_on": ["nothing"]}\n'), "--json")
    assert result.status == 2
    assert "names 'nothing'" in result.err
    assert cli.db.read_bytes() == before
    assert sorted(path.name for path in cli.folder.iterdir()) == ["jobs.db", "lines"]


@pytest.mark.parametrize("wrong", ["{", '{"task_id": "a"}', '{"task_id": "d", "depends_on": ["nothing"]}'])
def test_the_number_added_before_an_error_is_reported(cli: Cli, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setattr(add, "_BATCH_TASKS", 1)
    lines = "".join(f'{{"task_id": "{name}"}}\n' for name in "abc")
    result = cli("add", "i", cli.file("lines", lines + wrong), "--json")
    assert result.status == 2
    assert result.err.endswith("; 3 tasks added before\n")
    assert result.err.count("\n") == 1


def test_the_number_retried_before_an_error_is_reported(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("i", [NewTask("a"), NewTask("b")])
        for work in store.claim_available_tasks("worker", 2):
            store.fail_task(work.claim, "no good", retry=False)
    result = cli("retry", "i", "a", "missing", "b")
    told = "there is no task 'missing' in instance 'i'; 1 task will be retried"
    assert (result.status, result.out, result.err) == (2, "", f"sqlite-claims: {told}\n")
    assert cli("retry", "i").out == "1 task will be retried\n"


@pytest.fixture
def removed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()


@pytest.mark.usefixtures("removed_folder")
def test_a_relative_path_in_a_folder_that_was_removed_is_told_as_that() -> None:
    with pytest.raises(StoreUnavailableError, match=r"^jobs\.db: the current folder no longer exists"):
        SqliteClaimStore("jobs.db")


@pytest.mark.parametrize("command", [["status", "jobs.db"], ["work", "{db}", "m:a"], ["bench"]])
@pytest.mark.usefixtures("removed_folder")
def test_a_current_folder_that_was_removed_is_no_trouble_with_the_output(cli: Cli, command: list[str]) -> None:
    with cli.store():
        pass
    result = cli.raw(*(arg.format(db=cli.db) for arg in command))
    assert result.status == 2
    assert "the current folder no longer exists" in result.err
    assert "write" not in result.err
