"""After a fork, all commits of the parent and of the child are in the file. A process that cannot continue safely gets
an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore

from ..tiers import first_is_fast
from .children import Child, Start

# This program starts threads that write, read and hold transactions. Meanwhile, the main thread forks repeatedly.
BUSY_PARENT = """
from sqlite_claims.sqlite.wal import checkpoints
checkpoints.PASSIVE_FRAMES = 50
path, first_to_close = args
store = SqliteClaimStore(path)
stop = threading.Event()
running = threading.Semaphore(0)

def add(name):
    store.add_instance(name, [NewTask("a"), NewTask("b", depends_on=["a"])])
    say("added", name)

def with_transactions():
    number = 0
    while not stop.is_set():
        number += 1
        with store.transaction() as tx:
            tx.add_instance(f"transaction-{number}", [NewTask("a")])
            tx.get_instance(f"transaction-{number}")
        say("added", f"transaction-{number}")
        running.release()

def with_writes_and_reads():
    number = 0
    while not stop.is_set():
        number += 1
        add(f"write-{number}")
        for claimed in store.claim_available_tasks("parent", 2, 60):
            store.release_task(claimed.claim)
        store.stats()
        running.release()

threads = [threading.Thread(target=run) for run in (with_transactions, with_writes_and_reads)]
for thread in threads:
    thread.start()
parent_closed, close_parent = os.pipe()
children = []
for number in range(5):
    for _ in range(5):
        running.acquire()
    child = os.fork()
    if child == 0:
        os.close(close_parent)
        add(f"child-{number}-before")
        store.find_available_tasks("child", 3)
        if first_to_close == "parent":
            assert os.read(parent_closed, 1) == b""
        add(f"child-{number}-after")
        store.close()
        os._exit(0)
    if first_to_close == "child":
        assert os.waitpid(child, 0)[1] == 0
    else:
        children.append(child)
    add(f"parent-{number}")
stop.set()
for thread in threads:
    thread.join()
add("parent-last")
store.close()
os.close(close_parent)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
say("end")
"""


@pytest.mark.parametrize("first_to_close", first_is_fast(["parent", "child"]))
def test_after_forks_amid_other_threads_work_each_committed_row_is_there(
    start: Start, tmp_path: Path, first_to_close: str
) -> None:
    path = tmp_path / "jobs.db"
    parent = start(BUSY_PARENT, path, first_to_close)
    said = parent.rest()
    assert parent.wait() == 0
    assert said.pop() == "end"
    added = {line.removeprefix("added ") for line in said}
    assert {f"child-{number}-after" for number in range(5)} < added
    with SqliteClaimStore(path) as store:
        assert {info.instance_id for info in store.list_instances()} == added
        assert store.check() == []


def _says_closed_for_every_store(parent: Child) -> None:
    assert parent.says("own")[0] == "StoreClosedError"
    assert parent.says("new")[0] == "StoreClosedError"


def test_a_child_forked_within_a_transaction_may_not_use_the_file_and_the_parent_goes_on(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    parent = start(
        """
path = args[0]
store = SqliteClaimStore(path)
try:
    with store.transaction() as tx:
        tx.add_instance("one")
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            tx.add_instance("two")
        else:
            try:
                tx.add_instance("none")
            except StoreClosedError:
                say("tx", "StoreClosedError")
except StoreClosedError:
    say("end", "StoreClosedError")
if child == 0:
    ask(path, store)
    store.close()
    os._exit(0)
store.add_instance("three")
say("parent", "done")
""",
        path,
    )
    parent.says("tx", "StoreClosedError")
    parent.says("end", "StoreClosedError")
    _says_closed_for_every_store(parent)
    parent.says("parent", "done")
    parent.end()
    with SqliteClaimStore(path) as store:
        assert [info.instance_id for info in store.list_instances()] == ["one", "two", "three"]


@pytest.mark.slow
def test_a_child_forked_while_another_thread_stays_in_a_transaction_may_not_use_the_file(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    parent = start(
        """
path = args[0]
store = SqliteClaimStore(path)
inside, leave = threading.Event(), threading.Event()

def hold():
    with store.transaction(60) as tx:
        tx.add_instance("one")
        inside.set()
        leave.wait()

thread = threading.Thread(target=hold)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    ask(path, store)
    os._exit(0)
os.waitpid(child, 0)
leave.set()
thread.join()
store.add_instance("two")
say("parent", "done")
""",
        path,
    )
    _says_closed_for_every_store(parent)
    parent.says("parent", "done")
    parent.end()
    with SqliteClaimStore(path) as store:
        assert [info.instance_id for info in store.list_instances()] == ["one", "two"]


@pytest.mark.parametrize("other_thread", ["idle", "in-a-transaction"])
def test_a_fork_that_goes_round_the_hooks_leaves_the_child_without_any_store_on_the_file(
    start: Start, tmp_path: Path, other_thread: str
) -> None:
    path = tmp_path / "jobs.db"
    parent = start(
        """
import ctypes
path, other_thread = args
store = SqliteClaimStore(path)
session = store.open_session("worker")
inside, leave = threading.Event(), threading.Event()

def hold():
    if other_thread == "in-a-transaction":
        with store.transaction(60) as tx:
            tx.add_instance("one")
            inside.set()
            leave.wait()
    else:
        store.add_instance("one")
        inside.set()
        leave.wait()

thread = threading.Thread(target=hold)
thread.start()
inside.wait()
child = ctypes.PyDLL(None).fork()
if child == 0:
    ask(path, store)
    store.close()
    session.close()
    os._exit(0)
os.waitpid(child, 0)
leave.set()
thread.join()
say("alive", [worker.alive for worker in store.list_workers()])
store.add_instance("two")
say("parent", "done")
""",
        path,
        other_thread,
    )
    _says_closed_for_every_store(parent)
    parent.says("alive", "[True]")
    parent.says("parent", "done")
    parent.end()
    with SqliteClaimStore(path) as store:
        assert [info.instance_id for info in store.list_instances()] == ["one", "two"]


def test_processes_of_multiprocessing_may_be_forked(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    parent = start(
        """
import multiprocessing
store = SqliteClaimStore(args[0])
store.add_instance("one", [NewTask(f"t{number}") for number in range(20)])

def work(worker):
    done = 0
    while claimed := store.claim_available_tasks(worker, 1):
        store.complete_task(claimed[0].claim, worker.encode())
        done += 1
    return done

with multiprocessing.get_context("fork").Pool(3) as pool:
    done = pool.map(work, ["w1", "w2", "w3", "w4"])
say("done", sum(done), store.get_instance("one").state)
""",
        path,
    )
    parent.says("done", 20, "completed")
    parent.end()


def test_a_forked_child_does_not_keep_its_parents_session_alive(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    parent = start(
        """
store = SqliteClaimStore(args[0])
store.add_instance("one", [NewTask("t")])
session = store.open_session("parent")
claim = store.claim_task("one", "t", "parent", None, session=session)
child = os.fork()
if child == 0:
    say("child", session.fileno())
    hear()
    os._exit(0)
say("parent")
hear()
""",
        path,
    )
    said = sorted([parent.next_line(), parent.next_line()])
    assert said == ["child -1", "parent"]
    with SqliteClaimStore(path) as store:
        assert [worker.alive for worker in store.list_workers()] == [True]
        parent.kill()
        assert [worker.alive for worker in store.list_workers()] == [False]
        assert store.claim_task("one", "t", "other", 60) is not None


def test_a_fork_amid_a_call_as_a_signal_handler_makes_it_leaves_the_call_alone(start: Start, tmp_path: Path) -> None:
    parent = start(
        """
path = args[0]
store = SqliteClaimStore(path)

def fork(number, frame):
    if os.fork() == 0:
        ask(path, store)
        os._exit(0)
    os.wait()

signal.signal(signal.SIGUSR1, fork)

def operation(db):
    db.execute("UPDATE claims_meta SET aging_interval = 7")
    os.kill(os.getpid(), signal.SIGUSR1)
    db.execute("UPDATE claims_meta SET aging_interval = aging_interval + 1")
    return db.execute("SELECT aging_interval FROM claims_meta").fetchall()

say("parent", store._db.write(operation, True)[0][0])
""",
        tmp_path / "jobs.db",
    )
    _says_closed_for_every_store(parent)
    parent.says("parent", 8)
    parent.end()
