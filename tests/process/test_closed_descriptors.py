"""User code that closes descriptors that it did not open."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sqlite_claims import NewTask, TaskState
from sqlite_claims.workers import WorkerPool, WorkerStartError

from ..tiers import first_is_fast
from .children import Start
from .pool_runs import Pools, pools

__all__ = ["pools"]


@pytest.mark.parametrize("what", first_is_fast(["", "jobs.db"]))
def test_a_result_whose_handler_has_closed_the_stores_descriptors_is_stored_by_a_process_that_ends_then(
    pools: Pools, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, what: str
) -> None:
    pools.store.add_instance(
        "i", [NewTask("0", what.encode(), kind="close descriptors"), NewTask("1", kind="quick", depends_on=["0"])]
    )
    summary = WorkerPool(pools.path, "pool_handlers:registry", processes=1).run(until_idle=True)
    assert (summary.reason, summary.completed, summary.failed, summary.lost) == ("idle", 2, 0, 0)
    assert (pools.task().output, pools.task().attempts) == (b"closed", 1)
    said = capfd.readouterr().err + "".join(r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR)
    assert "closed by something else in this process" in said
    assert ("cannot report its error" in said) == (what == "")


@pytest.mark.slow
def test_a_pool_ends_when_idle_although_a_handler_has_closed_what_wakes_its_process(pools: Pools) -> None:
    pools.store.add_instance("i", [NewTask("0", b"pipe:", kind="close descriptors")])
    summary = WorkerPool(pools.path, "pool_handlers:registry", processes=1).run(until_idle=True)
    assert (summary.reason, summary.completed, summary.lost) == ("idle", 1, 0)


@pytest.mark.slow
def test_processes_that_exit_between_tasks_without_a_word_end_the_pool(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import os, threading; threading.Timer(0.5, os._exit, (7,)).start(); handlers = lambda task: None"
    (tmp_path / "leaving_handlers.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(WorkerStartError, match="exit status 7"):
        WorkerPool(pools.path, "leaving_handlers:handlers", processes=1).spawn().join(60)


@pytest.mark.slow
def test_a_result_that_went_into_a_file_opened_in_the_place_of_a_closed_descriptor_is_not_acknowledged(
    start: Start, tmp_path: Path
) -> None:
    program = start(
        """
import os
from sqlite_claims import StoreUnavailableError
path, folder = args
store = SqliteClaimStore(path)
store.add_instance("i", [NewTask("t")])
claim = store.claim_task("i", "t", "w", 60)
descriptors = [
    int(name) for name in os.listdir("/proc/self/fd")
    if os.path.islink(link := f"/proc/self/fd/{name}") and os.readlink(link).startswith(path)
]
for descriptor in descriptors:
    os.close(descriptor)
others = [os.open(f"{folder}/other{n}", os.O_RDWR | os.O_CREAT) for n in range(len(descriptors))]
try:
    store.complete_task(claim, b"done")
except StoreUnavailableError as error:
    say("refused", "closed by something else in this process" in str(error))
store.complete_task(claim, b"done")
store.close()
""",
        tmp_path / "jobs.db",
        tmp_path,
    )
    assert program.says("refused") == ["True"]
    program.end()
    with_store = start(
        """
with SqliteClaimStore(args[0], create=False) as store:
    say("state", store.get_task("i", "t").state, *store.check())
""",
        tmp_path / "jobs.db",
    )
    assert with_store.says("state") == [TaskState.COMPLETED]


@pytest.mark.slow
def test_a_worker_whose_handler_has_closed_all_descriptors_ends_by_an_error_of_the_librarys_own(
    start: Start, tmp_path: Path
) -> None:
    program = start(
        """
store = SqliteClaimStore(args[0])
store.add_instance("i", [NewTask("t")])
def close_all(task):
    os.closerange(3, 4096)
try:
    PooledWorker(store, close_all).run(until_idle=True)
    say("ended")
except BackendError as error:
    say("ended", type(error).__name__)
""",
        tmp_path / "jobs.db",
    )
    program.says("ended")
    program.end()


@pytest.mark.slow
def test_join_returns_although_the_program_has_closed_the_descriptors_of_its_pool(start: Start, tmp_path: Path) -> None:
    program = start(
        """
def close_all():
    while not any(worker.alive for worker in store.list_workers()):
        time.sleep(0.01)
    time.sleep(0.1)  # by now, the pool and the main thread are waiting
    store.close()
    os.closerange(3, 4096)
store = SqliteClaimStore(args[0])
pool = WorkerPool(args[0], "builtins:repr", processes=1)
handle = pool.spawn()
threading.Thread(target=close_all).start()
try:
    handle.join()
except OSError:
    pass
say("joined", handle.done)
os._exit(0)
""",
        tmp_path / "jobs.db",
    )
    program.says("joined", True)
    program.end()
