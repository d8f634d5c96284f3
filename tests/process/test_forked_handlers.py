"""Handlers that fork. The child process settles no task, runs no code of the worker, and exits as soon as it leaves the
handler."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, TaskState
from sqlite_claims.workers import WorkerPool

from ..tiers import first_is_fast
from .children import Start
from .pool_runs import Pools, pools

__all__ = ["pools"]

# The child process leaves the handler in the given way. The parent waits for the child and prints the child's exit
# status.
FORKING = """
import asyncio, ctypes
path, how, entry = args
def fork():
    return ctypes.PyDLL(None).fork() if entry == "unhooked" else os.fork()
def in_child():
    if how == "exit":
        sys.exit(5)
    if how == "raise":
        raise ValueError("in the child")
    return b"of the child"
def handler(task):
    say("start", task.task_id, task.attempt)
    child = fork()
    if not child:
        return in_child()
    say("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return b"of the parent"
async def coroutine(task):
    other = asyncio.get_running_loop().create_task(say_later())
    result = handler(task)
    await other  # also reached in the child, if the handler returned there
    return result
async def say_later():
    say("later")
async def in_subtask(task):
    say("start", task.task_id, task.attempt)
    return await asyncio.create_task(fork_in_subtask())
async def fork_in_subtask():
    child = fork()
    if not child:
        return in_child()
    say("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return b"of the parent"
def in_transaction(task):
    with store.transaction() as tx:
        tx.complete_task(task.claim, b"in the transaction")
        say("start", task.task_id, task.attempt)
        child = fork()
        if not child:
            return in_child()
        say("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
store = SqliteClaimStore(path)
handlers = {"coroutine": coroutine, "subtask": in_subtask, "transaction": in_transaction}
if entry == "runner":
    CheckpointingRunner(store, handler).run("i")
else:
    print(PooledWorker(store, handlers.get(entry, handler)).run(until_idle=True), file=sys.stderr)
store.close()
say("end")
"""


@pytest.mark.parametrize("entry", first_is_fast(["plain", "unhooked", "coroutine", "subtask", "runner", "transaction"]))
@pytest.mark.parametrize(("how", "status"), first_is_fast([("return", 0), ("raise", 1), ("exit", 5)]))
def test_the_forked_child_of_a_handler_leaves_at_once_and_its_parents_result_counts(
    start: Start, tmp_path: Path, how: str, status: int, entry: str
) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("a", max_attempts=1)])
        program = start(FORKING, path, how, entry)
        program.says("start", "a", 1)
        if entry == "transaction" and how == "return":
            status = 1  # the ``with`` block raises an error in the child
        if entry == "subtask" and how == "raise":
            status = 0  # asyncio raises the error only when the asyncio task is awaited
        program.says("child", status)
        if entry == "coroutine":
            program.says("later")  # only the parent prints this, because the child has exited at its await
        program.says("end")
        program.end()
        task = store.get_task("i", "a")
        assert (task.state, task.attempts, task.failures, task.losses) == (TaskState.COMPLETED, 1, 0, 0)
        assert task.output == (b"in the transaction" if entry == "transaction" else b"of the parent")


@pytest.mark.parametrize("how", first_is_fast(["exit", "raise", "return"]))
@pytest.mark.parametrize("order", first_is_fast(["first", "last"]))
def test_in_a_pool_a_forked_child_changes_neither_the_task_nor_the_count(pools: Pools, how: str, order: str) -> None:
    pools.store.add_instance("i", [NewTask("0", f"{how} {order}".encode(), kind="fork", max_attempts=1)])
    summary = WorkerPool(pools.path, "pool_handlers:registry", processes=1).run(until_idle=True)
    assert (summary.reason, summary.completed, summary.failed, summary.lost) == ("idle", 1, 0, 0)
    task = pools.task()
    assert (task.state, task.output, task.attempts) == (TaskState.COMPLETED, b"of the parent", 1)


@pytest.mark.parametrize("entry", ["worker", "pool"])
def test_a_signal_to_the_forked_child_of_a_handler_ends_the_child_and_not_the_worker(pools: Pools, entry: str) -> None:
    pools.add(*["terminate"] * 2)
    program = pools.start(entry, until_idle=True)
    assert pools.finish(program) == (0, ["idle", 2, 0, 0])
    assert [pools.task(name).output for name in "01"] == [b"-15", b"-15"]


# This program forks while a worker runs in the background. The child process leaves the block, the loop or the program
# in the ordinary way.
BACKGROUND = """
path, how = args
store = SqliteClaimStore(path)
def in_child(handle):
    say("done", handle.done)
    handle.shutdown()
    try:
        handle.join()
    except InvalidStateError as error:
        say("refused", "forked" in str(error))
    sys.exit(7)
handler = lambda task: task.cancelled.wait()
if how == "pool":
    handle = WorkerPool(path, "operator:attrgetter", processes=1).spawn()
else:
    handle = PooledWorker(store, handler).spawn()
with handle:
    child = os.fork()
    if not child:
        in_child(handle)
    say("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    say("done", handle.done)
    handle.shutdown(0)
    say(handle.join().reason)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["worker", "pool"])
def test_a_child_that_is_forked_beside_a_worker_ends_as_any_program_and_leaves_the_worker_alone(
    start: Start, tmp_path: Path, how: str
) -> None:
    program = start(BACKGROUND, tmp_path / "jobs.db", how)
    program.says("done", True)
    program.says("refused", True)
    program.says("child", 7)
    program.says("done", False)
    program.says("stopped")
    program.end()
