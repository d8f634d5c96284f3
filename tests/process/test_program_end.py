"""Programs that end while one of their workers runs in the background."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, TaskState

from ..tiers import first_is_fast
from .children import Start

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
path, kind = args
done = threading.Semaphore(0)
def use_executor(task):
    with ThreadPoolExecutor(1) as executor:
        executor.submit(done.release).result()
def start_thread(task):
    thread = threading.Thread(target=done.release)
    thread.start()
    thread.join()
async def use_loops_executor(task):
    import asyncio
    await asyncio.to_thread(done.release)
def stay():
    threading.main_thread().join()
    say("stopped", handle.done)
    hear()
store = SqliteClaimStore(path)
handle = PooledWorker(store, locals()[kind], concurrency=2).spawn()
done.acquire()
threading.Thread(target=stay).start()
"""


@pytest.mark.parametrize("kind", first_is_fast(["use_executor", "start_thread", "use_loops_executor"]))
def test_when_the_main_thread_ends_what_is_held_is_given_back_and_no_attempt_is_used_up(
    start: Start, tmp_path: Path, kind: str
) -> None:
    """A second thread of the program is still running after the main thread has ended."""
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process") as store:
        store.add_instance("i", [NewTask(f"t{n}", max_attempts=1) for n in range(20_000)])
        program = start(PROGRAM, path, kind)
        program.says("stopped", True)
        assert list(store.list_claims()) == []
        counts = {state: number for state, number in store.get_instance("i").counts.items() if number}
        assert set(counts) <= {TaskState.COMPLETED, TaskState.READY}
        assert all(task.attempts == 0 for task in store.list_tasks("i", states=[TaskState.READY], limit=200))
        program.tell()
        program.end()


# This program imports ProcessPoolExecutor after it has started the worker. So when the program exits, the executor
# refuses work before the worker has stopped.
REFUSED = """
path, how = args
ending, refused = threading.Event(), threading.Event()
def handler(task):
    say("start", task.attempt)
    from concurrent.futures import ProcessPoolExecutor
    ending.wait()
    try:
        try:
            ProcessPoolExecutor(1).submit(int)
        except RuntimeError as error:
            raise ValueError("in a wrapper") from error
    finally:
        refused.set()
def run():
    try:
        if how == "runner":
            CheckpointingRunner(store, handler).run("i")
        else:
            say(PooledWorker(store, handler).run().reason)
    except InvalidStateError as error:
        say("raised", error)
store = SqliteClaimStore(path)
if how == "spawn":
    PooledWorker(store, handler).spawn()
else:
    threading.Thread(target=run).start()
threading._register_atexit(refused.wait)
import concurrent.futures.process
threading._register_atexit(ending.set)
hear()
"""


@pytest.mark.parametrize(
    ("how", "said"), [("spawn", None), ("run", "stopped"), ("runner", "raised the program is ending, so its handlers")]
)
def test_a_handler_that_is_refused_an_executor_since_the_program_ends_has_not_failed(
    start: Start, tmp_path: Path, how: str, said: str | None
) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t", max_attempts=1)])
        program = start(REFUSED, path, how)
        program.says("start", 1)
        program.tell()
        if said is not None:
            assert program.next_line().startswith(said)
        program.end()
        task = store.get_task("i", "t")
        assert (task.state, task.attempts, task.failures, task.losses) == (TaskState.READY, 0, 0, 0)


ON_A_THREAD = """
path, = args
def handler(task):
    threading.main_thread().join()
    return b"done"
store = SqliteClaimStore(path)
threading.Thread(target=lambda: say(PooledWorker(store, handler).run(until_idle=True).completed)).start()
"""


def test_a_worker_that_a_thread_of_the_program_waits_for_works_on_when_the_main_thread_has_ended(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t"), NewTask("u")])
    program = start(ON_A_THREAD, path)
    program.says(2)
    program.end()
