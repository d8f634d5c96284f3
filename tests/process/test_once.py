"""Many workers on one store: each task is done once, with each of the two ways to claim."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, TaskState

from .children import Start

TASKS = 400

# This program prints each task that it has completed. The stored output of a task contains the worker and the token.
WORKER = """
path, me, way = args
store = SqliteClaimStore(path, durability="process")

def by_finding_and_claiming():
    while found := store.find_available_tasks(me, 8):
        for task in found:
            claim = store.claim_task(task.instance_id, task.task_id, me, 600)
            if claim is not None:
                yield task, claim

def by_claiming_what_there_is():
    while claimed := store.claim_available_tasks(me, 3, 600):
        for one in claimed:
            yield one.task, one.claim

ways = [by_finding_and_claiming, by_claiming_what_there_is]
say("ready")
hear()
for task, claim in ways[int(way)]():
    output = f"{me}:{claim.token}"
    store.complete_task(claim, output.encode())
    say("completed", task.instance_id, task.task_id, output, task.input.decode())
store.close()
"""


def add_tasks(store: SqliteClaimStore) -> None:
    for number in range(TASKS // 10):
        tasks = [NewTask(f"t{n}", f"{number}/{n}".encode(), priority=1 + n % 5, kind=f"k{n % 3}") for n in range(10)]
        store.add_instance(f"i{number}", tasks)


@pytest.mark.parametrize(
    "ways",
    [
        pytest.param("00000000", id="by finding and claiming", marks=pytest.mark.soak),
        pytest.param("11111111", id="by claiming what there is", marks=pytest.mark.soak),
        pytest.param("01010101", id="both"),
    ],
)
def test_eight_workers_do_each_task_exactly_once(start: Start, tmp_path: Path, ways: str) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process") as store:
        add_tasks(store)
    workers = [start(WORKER, path, f"w{number}", way) for number, way in enumerate(ways)]
    for worker in workers:
        worker.says("ready")
    for worker in workers:
        worker.tell()
    said = [line.split(" ") for worker in workers for line in worker.rest()]
    assert [worker.wait() for worker in workers] == [0] * 8
    done = {(instance, task): output for _, instance, task, output, _ in said}
    assert len(said) == len(done) == TASKS
    assert all(text == f"{instance[1:]}/{task[1:]}" for _, instance, task, _, text in said)
    with SqliteClaimStore(path) as store:
        for info in store.list_tasks():
            assert info.state is TaskState.COMPLETED
            assert (info.attempts, info.losses, info.failures) == (1, 0, 0)
            assert info.output is not None
            assert info.output.decode() == done[info.instance_id, info.task_id] == f"{info.worker_id}:1"
        assert {instance.state for instance in store.list_instances()} == {"completed"}
        assert store.check() == []


@pytest.mark.parametrize("use_c_core", [None, False], ids=["core", "python"])
def test_threads_that_share_a_store_do_each_task_exactly_once(
    start: Start, tmp_path: Path, use_c_core: bool | None
) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process") as store:
        add_tasks(store)
    process = start(
        """
store = SqliteClaimStore(args[0], durability="process", use_c_core=None if args[1] == "None" else False)
begin = threading.Barrier(8)

def work(me):
    begin.wait()
    while claimed := store.claim_available_tasks(me, 2, 600):
        for one in claimed:
            assert store.get_task(one.task.instance_id, one.task.task_id).claim == one.claim
            if me in ("w1", "w2"):
                with store.transaction(60) as tx:
                    tx.complete_task(one.claim, me.encode())
            else:
                store.complete_task(one.claim, me.encode())
            say("completed", one.task.instance_id, one.task.task_id, me)
        store.stats()

threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
say("sound", store.check())
""",
        path,
        use_c_core,
    )
    said = process.rest()
    assert process.wait() == 0
    assert said.pop() == "sound []"
    done = Counter(tuple(line.split(" ")[1:3]) for line in said)
    assert len(done) == TASKS
    assert set(done.values()) == {1}
    with SqliteClaimStore(path) as store:
        outputs = {(info.instance_id, info.task_id, (info.output or b"").decode()) for info in store.list_tasks()}
    assert outputs == {tuple(line.split(" ")[1:]) for line in said}
