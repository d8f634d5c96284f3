"""Processes with the library of the last commit before schema version 3 have a file open while a process with this
library migrates the file."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, TaskState

ROOT = Path(__file__).parents[2]
# The last commit whose library writes schema version 2.
BEFORE = "1746c45"
# The older process: opens the store, does the first half of its work, reports "open", waits for a line, and does the
# second half. The second half prints each error.
SCRIPT = """
import sys
import sqlite_claims
from sqlite_claims import NewTask, PooledWorker, SqliteClaimStore, BackendError

path, role = sys.argv[1:]
assert sqlite_claims.__file__.startswith(sys.path[0])


def attempt(call):
    try:
        print("no error:", call(), flush=True)
    except BackendError as error:
        print(type(error).__name__, str(error).replace("\\n", " "), flush=True)


def next_line():
    print("open", flush=True)
    assert sys.stdin.readline()


with SqliteClaimStore(path, use_c_core=False, busy_timeout=30) as store:
    if role == "calls":
        claim = store.claim_task("i", "t0", "old", 600)
        next_line()
        attempt(lambda: store.complete_task(claim, b"late"))
        attempt(lambda: store.claim_available_tasks("old", 1, 30))
        attempt(lambda: store.find_available_tasks("old", 1))
        attempt(lambda: store.add_instance("j", [NewTask("t")]))
        attempt(lambda: store.get_task("i", "t0"))
        attempt(lambda: store.stats())
    elif role == "worker":

        def handler(context):
            next_line()
            return b"late"

        attempt(lambda: PooledWorker(store, handler, poll_interval=0.05, claim_ttl=600).run())
    elif role == "transaction":

        def both():
            with store.transaction(timeout=30) as tx:
                tx.add_instance("j", [NewTask("t")])
                next_line()
                tx.add_tasks("j", [NewTask("u")])

        attempt(both)
        attempt(lambda: store.get_instance("j"))
    else:
        claims = store.claim_available_tasks("old", 100, 600)
        assert len(claims) == 3
        print("open", flush=True)
        attempt(lambda: store.wait_for_tasks(60))
"""


@pytest.fixture(scope="module")
def older_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the older library."""
    archive = subprocess.run(
        ["git", "archive", BEFORE, "sqlite_claims"], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    if archive.returncode:
        pytest.skip(f"the repository has no commit {BEFORE}, because it is a shallow clone or no clone")
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture
def start(older_library: Path, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Return a function that starts an older process, and returns the process when it has the store open."""
    (older_library / "older.py").write_text(SCRIPT)
    path = tmp_path / "jobs.db"
    environment = {**os.environ, "PYTHONPATH": str(older_library)}

    def run(role: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments, str(path), role],
            env=environment,
            cwd=older_library,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    made = """
import sys
from sqlite_claims import NewTask, SqliteClaimStore
with SqliteClaimStore(sys.argv[1], use_c_core=False) as store:
    store.add_instance("i", [NewTask(f"t{n}") for n in range(3)])
"""
    with run("", "-c", made) as process:
        pass
    assert process.returncode == 0
    started: list[subprocess.Popen[str]] = []

    def begin(role: str) -> subprocess.Popen[str]:
        process = run(role, str(older_library / "older.py"))
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def rest(process: subprocess.Popen[str]) -> list[str]:
    """Let the process continue, and return the lines that the process prints until its end."""
    output, _ = process.communicate("continue\n", timeout=60)
    return output.splitlines()


def refused(line: str) -> bool:
    return line.startswith("SchemaVersionError ") and "restart" in line


def test_each_next_call_of_an_older_process_says_to_restart_it(start: Callable[[str], Any], tmp_path: Path) -> None:
    process = start("calls")
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        lines = rest(process)
        assert len(lines) == 6
        assert all(refused(line) for line in lines), lines
        assert store.get_task("i", "t0").state is TaskState.CLAIMED
        assert [info.instance_id for info in store.list_instances()] == ["i"]
        assert store.check() == []


def test_an_older_worker_stops_and_its_claim_ends_with_its_process(start: Callable[[str], Any], tmp_path: Path) -> None:
    process = start("worker")
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        assert store.get_task("i", "t0").state is TaskState.CLAIMED
        lines = rest(process)
        assert lines, "the worker stopped without an error"
        assert refused(lines[-1]), lines
        assert store.wait_for_tasks(10) is True
        claimed = {one.task.task_id for one in store.claim_available_tasks("new", 10, 60)}
        assert claimed == {"t0", "t1", "t2"}
        assert store.get_task("i", "t0").output is None
        assert store.check() == []


def test_a_migration_waits_for_the_transaction_of_an_older_process(start: Callable[[str], Any], tmp_path: Path) -> None:
    process = start("transaction")
    opened = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from sqlite_claims import SqliteClaimStore; SqliteClaimStore(sys.argv[1]).close()",
            str(tmp_path / "jobs.db"),
        ],
        cwd=ROOT,
    )
    lines = rest(process)
    assert opened.wait(60) == 0
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        # The older process committed its transaction before the migration, and its next call may come before or after.
        assert lines[0] == "no error: None", lines
        assert len(list(store.list_tasks("j"))) == 2
        store.add_tasks("j", [NewTask("v")])
        assert store.check() == []


def test_a_process_that_sleeps_in_wait_for_tasks_wakes_with_the_error(
    start: Callable[[str], Any], tmp_path: Path
) -> None:
    process = start("sleep")
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        store.add_instance("wakes", [NewTask("t")])
        lines = rest(process)
        assert len(lines) == 1
        assert refused(lines[0]), lines
        assert store.check() == []
