"""The waiting methods in programs where gevent or eventlet has replaced threads by greenlets. While one greenlet waits,
the other greenlets must be able to run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sqlite_claims import NewTask, SqliteClaimStore

PATCHED = {
    "gevent.monkey": SimpleNamespace(is_module_patched=lambda name: name == "threading"),
    "eventlet.patcher": SimpleNamespace(is_monkey_patched=lambda name: name == "thread"),
}


@pytest.mark.parametrize("library", PATCHED)
def test_waiting_for_tasks_lets_other_greenlets_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db") as store:

        def let_others_run(_: float) -> None:
            store.add_instance("i", [NewTask("t")], if_exists="skip")

        monkeypatch.setitem(sys.modules, library, PATCHED[library])
        monkeypatch.setattr(time, "sleep", let_others_run)
        assert store.wait_for_tasks(3)


PROGRAM = """
import os, signal, sys, time
if sys.argv[1] == "gevent":
    from gevent import monkey
    monkey.patch_all()
else:
    import eventlet
    eventlet.monkey_patch()
from sqlite_claims import NewTask, PooledWorker, SqliteClaimStore
store = SqliteClaimStore(sys.argv[2])
def handler(task):
    time.sleep(0.01)
    if task.task_id == "last" and sys.argv[1] == "gevent":  # with eventlet, no thread counts as the main thread
        os.kill(os.getpid(), signal.SIGTERM)
store.add_instance("i", [*(NewTask(f"t{n}") for n in range(20)), NewTask("last", priority=5)])
print(PooledWorker(store, handler, concurrency=10).run(until_idle=sys.argv[1] == "eventlet"))
"""


@pytest.mark.parametrize(("library", "reason"), [("gevent", "interrupted"), ("eventlet", "idle")])
def test_a_worker_works_in_greenlets_and_with_gevent_hears_signals(tmp_path: Path, library: str, reason: str) -> None:
    pytest.importorskip(library)
    program = [sys.executable, "-c", PROGRAM, library, str(tmp_path / "jobs.db")]
    out = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120).stdout
    assert out.strip() == f"RunSummary(reason='{reason}', completed=21, failed=0, lost=0)"
