"""A worker can lend its session to a command. The command and the processes that the command leaves behind then hold
the lock of the session."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore
from sqlite_claims.sqlite.sessions.lock_holders import runs as is_running

from .children import Start
from .map_runs import Runs, runs, wait_for

__all__ = ["runs"]

# This program claims a task and starts a command that holds the session. The command starts a background process,
# prints the id of that process, and ends, while the background process keeps running. The program ends when it reads a
# line.
OPENER = """
import subprocess
path, lend = args
store = SqliteClaimStore(path)
session = store.open_session("worker")
claim = store.claim_task("i", "t", "worker", None, session=session)
command = subprocess.Popen(
    ["sh", "-c", "sleep 1000 >/dev/null & echo $! $$; exec sleep 1000"],
    stdout=subprocess.PIPE, pass_fds=[session.fileno()],
)
if lend == "True":
    session.lend(command.pid)
say("started", *command.stdout.readline().decode().split())
hear()
command.wait()
say("reaped")
hear()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        store.add_instance("i", [NewTask("t")])
        yield store


@pytest.fixture
def kill() -> Iterator[list[int]]:
    """Return a list of process ids, and kill these processes at the end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


def look_for_two_seconds(store: SqliteClaimStore) -> bool:
    """Return whether the task can be claimed within 2.5 s, which is more than twice the interval at which stores probe
    for dead sessions."""
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        if store.claim_available_tasks("other", 1, 60):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_a_line_whose_command_has_ended_is_free_although_a_daemon_that_it_left_holds_its_lock(runs: Runs) -> None:
    daemon = runs.folder / "daemon"
    script = f'[ -e {daemon} ] || {{ setsid sh -c "echo \\$\\$ > {daemon}; exec sleep 1000" >/dev/null 2>&1 & }}; '
    command = ["sh", "-c", script + f'exec "{runs.act}" "$1"', "sh"]
    runs.hold("a")
    killed = runs.start("-j", "1", "-q", lines=["a"], command=command)
    runs.wait_for("start", "a")
    wait_for(lambda: daemon.exists() and daemon.read_text())
    pid = int(daemon.read_text())
    try:
        killed.kill()
        killed.communicate()
        again = runs.start("-j", "1", lines=["a", "b"], command=command)
        runs.wait_for("end", "b")
        told = f"waiting for 1 task of other processes: Task '{next(iter(_claimed(runs)))}' of instance "
        assert again.stderr is not None
        line = b""
        while told.encode() not in line:
            line = again.stderr.readline()
        assert f"(whose process has ended; processes {pid}, {runs.pid_of('a')} still".encode() in line or (
            f"(whose process has ended; processes {runs.pid_of('a')}, {pid} still".encode() in line
        )
        runs.let_go("a")
        assert runs.finish(again).status == 0
        assert runs.count("start") == {"a": 2, "b": 1}
        assert runs.overlapping() == []
        assert is_running(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def _claimed(runs: Runs) -> list[str]:
    return [task.task_id for task in runs.tasks().values() if task.claim is not None]


def test_a_session_lives_as_long_as_its_command_and_no_longer_whatever_that_leaves_behind(
    start: Start, store: SqliteClaimStore, kill: list[int]
) -> None:
    opener = start(OPENER, store.path, True)
    left_behind, command = kill[:] = list(map(int, opener.says("started")))
    opener.kill()
    assert not look_for_two_seconds(store)
    kept = f"(whose process has ended; processes {', '.join(map(str, sorted(kill)))} still hold the claim)"
    assert kept in store.explain_task("i", "t")
    os.kill(command, signal.SIGKILL)
    wait_for(lambda: not is_running(command))
    assert f"has ended and left process {left_behind} running: it becomes ready again" in store.explain_task("i", "t")
    wait_for(lambda: store.claim_available_tasks("other", 1, 60))
    assert store.get_task("i", "t").losses == 1
    assert list(store.list_workers()) == []
    assert is_running(left_behind)


@pytest.mark.slow
def test_a_session_lives_as_long_as_its_opener_when_its_command_has_ended(
    start: Start, store: SqliteClaimStore, kill: list[int]
) -> None:
    opener = start(OPENER, store.path, True)
    _, command = kill[:] = list(map(int, opener.says("started")))
    os.kill(command, signal.SIGKILL)
    opener.tell()
    opener.says("reaped")
    assert not look_for_two_seconds(store)
    assert "process has ended" not in store.explain_task("i", "t")
    opener.kill()
    wait_for(lambda: store.claim_available_tasks("other", 1, 60))


@pytest.mark.slow
def test_a_session_whose_command_nobody_has_told_of_is_kept_by_all_that_hold_it_and_they_are_named(
    start: Start, store: SqliteClaimStore, kill: list[int]
) -> None:
    opener = start(OPENER, store.path, False)
    left_behind, command = kill[:] = list(map(int, opener.says("started")))
    opener.kill()
    os.kill(command, signal.SIGKILL)
    wait_for(lambda: not is_running(command))
    assert not look_for_two_seconds(store)
    assert f"(whose process has ended; process {left_behind} still holds the claim)" in store.explain_task("i", "t")
    os.kill(left_behind, signal.SIGKILL)
    wait_for(lambda: store.claim_available_tasks("other", 1, 60))


def test_a_zombie_has_ended() -> None:
    process = subprocess.Popen(["true"])
    assert is_running(os.getpid())
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(process.pid)
    process.wait()
    assert not is_running(process.pid)
