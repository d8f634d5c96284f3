"""Worker sessions: the tasks of a dead worker become free before their leases end, and the tasks of a live worker stay
claimed."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, TaskState
from sqlite_claims.clock import SystemClock

from .children import Child, Start

# This program claims a task with a long lease, binds the claim to its session, and then carries out the test's
# commands.
WORKER = """
store = SqliteClaimStore(args[0])
session = store.open_session("worker")
claim = store.claim_task("i", "t", "worker", 300, session=session)
say("claimed", claim is not None)
while command := hear():
    if command == "touch":
        for _ in range(3):
            open(args[0] + "-sessions", "rb+").close()
        say("touched")
    if command == "complete":
        store.complete_task(claim, b"done")
        say("completed")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t")])
        yield store


def working(start: Start, path: Path) -> Child:
    worker = start(WORKER, path)
    worker.says("claimed", True)
    return worker


def is_claimed_by_another(store: SqliteClaimStore) -> bool:
    return store.claim_task("i", "t", "other", 60) is not None


class Hurried(SystemClock):
    """A clock that is ahead of the machine's clocks by a time that the test sets."""

    ahead_us = 0

    def boot_us(self) -> int:
        return super().boot_us() + self.ahead_us

    def awake_us(self) -> int:
        return super().awake_us() + self.ahead_us


@pytest.mark.usefixtures("store")
def test_a_waiting_worker_gets_a_killed_workers_task_within_a_second_however_long_its_lease(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of waiting for the doorbell, the store advances the test's clock. The first such call also kills the
    worker."""
    worker = working(start, path)
    clock = Hurried()
    waited_s: list[float] = []
    with SqliteClaimStore(path, clock=clock) as waiting:

        def wait(_bell: object, _which: int, _seen: int, seconds: float) -> None:
            if not waited_s:
                worker.kill()
            waited_s.append(seconds)
            clock.ahead_us += int(seconds * 1e6)

        monkeypatch.setattr(type(waiting._db.bell), "wait", wait)
        assert waiting.wait_for_tasks(3600)
        assert sum(waited_s) <= 1
        [claimed] = waiting.claim_available_tasks("other", 1, 60)
        assert claimed.task.task_id == "t"


def test_a_killed_worker_loses_its_claim_and_the_task_counts_it(
    start: Start, path: Path, store: SqliteClaimStore
) -> None:
    working(start, path).kill()
    assert is_claimed_by_another(store)
    task = store.get_task("i", "t")
    assert (task.losses, task.attempts, task.worker_id) == (1, 2, "other")
    assert list(store.list_workers()) == []


def test_a_stopped_worker_keeps_its_claim_and_completes_when_it_goes_on(
    start: Start, path: Path, store: SqliteClaimStore
) -> None:
    worker = working(start, path)
    worker.signal(signal.SIGSTOP)
    os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WNOWAIT)
    assert not is_claimed_by_another(store)
    with SqliteClaimStore(path) as fresh:  # the first search of a new store object probes which sessions are alive
        assert fresh.claim_available_tasks("other", 1, 60) == []
    assert [seen.alive for seen in store.list_workers()] == [True]
    worker.signal(signal.SIGCONT)
    worker.tell("complete")
    worker.says("completed")
    assert store.get_task("i", "t").output == b"done"


def test_opening_and_closing_the_sessions_file_in_the_worker_leaves_its_lock_alone(
    start: Start, path: Path, store: SqliteClaimStore
) -> None:
    worker = working(start, path)
    worker.tell("touch")
    worker.says("touched")
    assert [seen.alive for seen in store.list_workers()] == [True]
    assert not is_claimed_by_another(store)


def test_a_command_that_inherits_the_descriptor_keeps_the_claim_until_it_ends(
    start: Start, path: Path, store: SqliteClaimStore, tmp_path: Path
) -> None:
    fifo = tmp_path / "hold"
    os.mkfifo(fifo)
    worker = start(
        """
import subprocess
path, fifo = args
store = SqliteClaimStore(path)
session = store.open_session("worker")
claim = store.claim_task("i", "t", "worker", None, session=session)
command = subprocess.Popen(["sh", "-c", 'read line < "$0"', fifo], pass_fds=[session.fileno()])
say("running", command.pid)
hear()
""",
        path,
        fifo,
    )
    command = int(worker.says("running")[0])
    worker.kill()
    assert [seen.alive for seen in store.list_workers()] == [True]
    assert not is_claimed_by_another(store)
    end = os.pidfd_open(command)
    fifo.write_text("end\n")
    assert select.select([end], [], [], 60)[0]
    os.close(end)
    assert is_claimed_by_another(store)


def test_another_process_with_the_dead_workers_pid_is_not_taken_for_it(
    start: Start, path: Path, store: SqliteClaimStore
) -> None:
    working(start, path).kill()
    store._db.write(lambda db: db.execute("UPDATE claims_sessions SET pid = ?", (os.getpid(),)), False)
    assert [seen.alive for seen in store.list_workers()] == [False]
    assert is_claimed_by_another(store)


def test_a_restarted_worker_of_the_same_name_does_not_keep_its_former_selfs_claim(
    start: Start, path: Path, store: SqliteClaimStore
) -> None:
    working(start, path).kill()
    working(start, path)
    task = store.get_task("i", "t")
    assert (task.losses, task.attempts) == (1, 2)


def test_a_dead_worker_that_held_thousands_of_tasks_gives_all_back(start: Start, path: Path) -> None:
    with SqliteClaimStore(path) as store:
        store.add_instance("many", [NewTask(f"t{number}") for number in range(2500)])
        worker = start(
            """
store = SqliteClaimStore(args[0])
session = store.open_session("worker")
say("claimed", len(store.claim_available_tasks("worker", 2500, None, session=session)))
hear()
""",
            path,
        )
        worker.says("claimed", 2500)
        worker.kill()
        claimed = 0
        while found := store.claim_available_tasks("other", 1000, None):
            claimed += len(found)
        assert claimed == 2500
        assert {(task.state, task.losses) for task in store.list_tasks()} == {(TaskState.CLAIMED, 1)}
        assert store.check() == []


@pytest.mark.usefixtures("store")
def test_a_store_opened_for_reading_tells_who_is_alive(start: Start, path: Path) -> None:
    worker = working(start, path)
    with SqliteClaimStore(path, read_only=True) as reader:
        assert [seen.alive for seen in reader.list_workers()] == [True]
        worker.kill()
        assert [seen.alive for seen in reader.list_workers()] == [False]


class Boot(SystemClock):
    """The machine's clocks, with a boot id that the test chooses."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def boot_id(self) -> str:
        return self._name


BOOT = """
from sqlite_claims.clock import SystemClock
class Boot(SystemClock):
    def boot_id(self):
        return args[1]
try:
    store = SqliteClaimStore(args[0], clock=Boot())
    say("opened", len(list(store.list_claims())))
except StoreUnavailableError as error:
    say("refused", error)
hear()
"""


def test_a_process_that_sees_another_boot_is_refused_while_someone_is_there(start: Start, path: Path) -> None:
    one = start(BOOT, path, "boot-1")
    one.says("opened")
    two = start(BOOT, path, "boot-2")
    assert "boot" in " ".join(two.says("refused"))
    one.kill()
    start(BOOT, path, "boot-2").says("opened")


@pytest.mark.slow
def test_processes_that_open_the_store_at_once_after_a_reboot_all_get_it(start: Start, path: Path) -> None:
    for boot in range(3):
        with SqliteClaimStore(path, clock=Boot(f"before-{boot}")) as store:
            store.add_instance(f"i{boot}", [NewTask("t")])
            store.claim_task(f"i{boot}", "t", "worker", None)
        children = [start(BOOT, path, f"boot-{boot}") for _ in range(4)]
        for child in children:
            child.says("opened", 0)
        for child in children:
            child.kill()
