"""Eight processes on one file: each task is done once, with each of the two ways to claim, and also if some processes
are killed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, TaskState

from .children import Start

WORKERS = 8
TASKS = 400

BY_NAME = """
store = SqliteClaimStore(args[0], durability="process")
say("ready"); hear()
while found := store.find_available_tasks(args[1], 10):
    for task in found:
        claim = store.claim_task(task.instance_id, task.task_id, args[1], 60)
        if claim is not None:
            store.complete_task(claim, args[1].encode())
            say("did", task.task_id)
say("end")
"""
AT_ONCE = """
store = SqliteClaimStore(args[0], durability="process")
say("ready"); hear()
while claimed := store.claim_available_tasks(args[1], 3):
    done, lost = store.complete_tasks([(each.claim, args[1].encode()) for each in claimed])
    assert not lost
    for claim in done:
        say("did", claim.task_id)
say("end")
"""
# This program claims and completes tasks for a number of rounds or until no task is left. Then the program waits until
# the test kills the process. The claims are bound to the process's session, so the tasks become free when the process
# dies, even if the leases have not ended.
MORTAL = """
store = SqliteClaimStore(args[0], durability="process")
session = store.open_session(args[1])
say("ready")
rounds = int(args[2])
while rounds and store.get_instance("i").finished_at is None:
    for each in store.claim_available_tasks(args[1], 2, 300, session=session):
        store.complete_task(each.claim, args[1].encode())
        say("did", each.task.task_id)
    rounds -= 1
    store.wait_for_tasks(0.2)
if not rounds:
    hear()
say("end")
"""


@pytest.mark.parametrize("program", [BY_NAME, AT_ONCE], ids=["by name", "at once"])
@pytest.mark.slow
def test_each_task_is_done_once_by_one_of_eight_processes(start: Start, tmp_path: Path, program: str) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process") as store:
        store.add_instance("i", [NewTask(f"t{number}") for number in range(TASKS)])
    children = [start(program, path, f"w{number}") for number in range(WORKERS)]
    for child in children:
        child.says("ready")
    for child in children:
        child.tell()
    did: list[tuple[str, str]] = []
    for number, child in enumerate(children):
        while (words := child.next_line().split())[0] == "did":
            did.append((words[1], f"w{number}"))
        assert words == ["end"]
    assert len(did) == len({task for task, _ in did}) == TASKS
    with SqliteClaimStore(path) as store:
        for task_id, worker in did:
            task = store.get_task("i", task_id)
            assert (task.state, task.output, task.attempts) == (TaskState.COMPLETED, worker.encode(), 1)
            assert task.losses == 0
        assert store.check() == []


@pytest.mark.slow
def test_killed_workers_lose_nothing_that_was_acknowledged_and_nothing_is_left_undone(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    chance = random.Random(7)
    with SqliteClaimStore(path, durability="process") as store:
        store.add_instance("i", [NewTask(f"t{number}", max_lost=1000) for number in range(TASKS)])
    acknowledged: list[tuple[str, str]] = []
    for generation in range(12):
        # The process completes two tasks per round. The test doesn't wait for the last three tasks, so that the process
        # is killed while it claims and completes tasks.
        rounds = chance.randrange(2, 12)
        child = start(MORTAL, path, f"w{generation}", rounds)
        child.says("ready")
        acknowledged += [(child.says("did")[0], f"w{generation}") for _ in range(2 * rounds - 3)]
        child.kill()
    heir = start(MORTAL, path, "heir", TASKS)
    heir.says("ready")
    while (words := heir.next_line().split())[0] == "did":
        acknowledged.append((words[1], "heir"))
    with SqliteClaimStore(path) as store:
        for task_id, worker in acknowledged:
            assert store.get_task("i", task_id).output == worker.encode()
        assert store.get_instance("i").counts[TaskState.COMPLETED] == TASKS
        assert list(store.list_claims()) == []
        assert store.check() == []
