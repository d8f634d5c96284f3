"""The -bell file is removed or truncated while processes map it: the processes can still use the store, and soon wake
each other again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore
from sqlite_claims.sqlite import c_core
from sqlite_claims.sqlite.doorbell import READY, FutexBell

from .children import Start

if c_core.load() is None:
    pytest.skip("without the C core there is no doorbell", allow_module_level=True)

USE = """
store = SqliteClaimStore(args[0], durability="process", use_c_core=True)
store.add_instance("i", [NewTask("t1"), NewTask("t2")])
say("there")
hear()
[work] = store.claim_available_tasks("w", 1)
store.complete_task(work.claim)
say(work.task.task_id, store.wait_for_tasks(0.01))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def test_a_bell_that_is_cut_short_kills_nobody(start: Start, path: Path) -> None:
    child = start(USE, path)
    child.says("there")
    os.truncate(f"{path}-bell", 0)
    child.tell()
    child.says("t1", "True")
    child.end()


def test_threads_that_sleep_on_a_bell_that_is_cut_short_wake_up(start: Start, path: Path) -> None:
    child = start(
        """
store = SqliteClaimStore(args[0], durability="process", use_c_core=True)
store.add_instance("i")
woken = []
threads = [threading.Thread(target=lambda: woken.append(store.wait_for_tasks(60))) for _ in range(4)]
for thread in threads:
    thread.start()
say("there")
hear()
store.add_tasks("i", [NewTask("t")])
for thread in threads:
    thread.join()
say(*woken)
""",
        path,
    )
    child.says("there")
    os.truncate(f"{path}-bell", 0)
    child.tell()
    assert child.next_line() == "True True True True"
    child.end()


@pytest.mark.parametrize("removed", [True, False], ids=["removed", "cut short"])
def test_processes_wake_each_other_again_by_a_new_one(path: Path, removed: bool) -> None:
    with SqliteClaimStore(path, use_c_core=True) as one, SqliteClaimStore(path, use_c_core=True) as other:
        one.add_instance("i")
        if removed:
            os.unlink(f"{path}-bell")
        else:
            os.truncate(f"{path}-bell", 0)
            other._db.bell.ring(READY)  # when the second store rings, it notices that the file was truncated
        for store in (one, other):
            assert isinstance(store._db.bell, FutexBell)
            assert not store._db.bell.in_place()
            store._db.check_files_soon()
            store.stats()
            assert store._db.bell.in_place()
            assert store._db.opened.waiter is not None
            assert store._db.opened.waiter.bell is store._db.bell
        seen = one._db.bell.read(READY)
        other.add_tasks("i", [NewTask("t")])
        assert one._db.bell.read(READY) != seen
        assert os.path.getsize(f"{path}-bell") == 4096


@pytest.mark.slow
@pytest.mark.parametrize("handler", ["default", "of the program's"])
def test_another_bus_error_ends_as_it_would_have(start: Start, path: Path, handler: str) -> None:
    """A SIGBUS caused by a different mapping, and a SIGBUS sent by kill(), both end the process."""
    program = """
import mmap
if args[1] != "default":
    import faulthandler
    faulthandler.enable(open(os.devnull, "w"))
store = SqliteClaimStore(args[0], use_c_core=True)
if args[2] == "sent":
    os.kill(os.getpid(), signal.SIGBUS)
with open(args[0] + "-other", "w+b") as file:
    file.truncate(4096)
    mapped = mmap.mmap(file.fileno(), 4096)
    file.truncate(0)
    mapped[0] = 1
say("went on")
"""
    for how in ("fault", "sent"):
        child = start(program, path, handler, how)
        assert child.rest() == []
        assert child.wait() == -signal.SIGBUS
