"""Workers are killed at any moment and started again. No task is lost, and no completed task is done again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore, TaskState

from .children import Child, Start

# This program adds tasks, claims them in both ways, and completes, fails and releases them one by one and in batches.
# The program prints each acknowledged result.
WORKER = """
import random
path, me, seed = args
choose = random.Random(int(seed))
store = SqliteClaimStore(path)
session = store.open_session(me)
number = 0

def output_of(claim):
    return f"{me}:{claim.token}"

say("ready")
while True:
    number += 1
    name = f"{me}-{number}"
    without_end = dict(max_lost=10**6, max_attempts=10**6, retry=RetryPolicy(0.0))
    tasks = [NewTask(f"t{n}", bytes(choose.choice([0, 3000])), **without_end) for n in range(3)]
    store.add_instance(name, [*tasks, NewTask("last", depends_on=["t0", "t1", "t2"], **without_end)])
    say("added", name)
    for found in store.find_available_tasks(me, 1):
        claim = store.claim_task(found.instance_id, found.task_id, me, None, session=session)
        if claim is not None:
            say("claimed", claim.instance_id, claim.task_id, claim.token)
            store.complete_task(claim, output_of(claim).encode())
            say("completed", claim.instance_id, claim.task_id, output_of(claim))
    claims = [one.claim for one in store.claim_available_tasks(me, choose.randrange(1, 6), None, session=session)]
    for claim in claims:
        say("claimed", claim.instance_id, claim.task_id, claim.token)
    match choose.randrange(4):
        case 0:
            store.release_tasks(claims)
        case 1:
            store.fail_tasks([(claim, "try again") for claim in claims])
        case _:
            done, lost = store.complete_tasks([(claim, output_of(claim).encode()) for claim in claims])
            assert not lost
            for claim in done:
                say("completed", claim.instance_id, claim.task_id, output_of(claim))
"""

FINISH = """
store = SqliteClaimStore(args[0])
while not all(store.stats().counts[state] == 0 for state in (TaskState.READY, TaskState.BLOCKED, TaskState.CLAIMED)):
    claims = [one.claim for one in store.claim_available_tasks("finisher", 100, 600)]
    store.complete_tasks([(claim, f"finisher:{claim.token}".encode()) for claim in claims])
    for claim in claims:
        say("claimed", claim.instance_id, claim.task_id, claim.token)
"""


def kill_over_and_over(start: Start, path: Path, kills: int, choose: random.Random) -> list[list[str]]:
    """Kill and replace workers repeatedly. Return the lines that all workers have printed."""
    said: list[list[str]] = []

    def begin(number: int) -> Child:
        return start(WORKER, path, f"w{number}", choose.randrange(10**9))

    def end(worker: Child) -> None:
        worker.cut_off()
        said.extend(line.split(" ") for line in worker.rest())

    started = 3
    workers = [begin(number) for number in range(started)]
    for _ in range(kills):
        place = choose.randrange(len(workers))
        said += [workers[place].next_line().split(" ") for _ in range(choose.randrange(1, 60))]
        end(workers[place])
        workers[place] = begin(started)
        started += 1
    for worker in workers:
        end(worker)
    return said


def verify(start: Start, path: Path, said: list[list[str]]) -> None:
    finisher = start(FINISH, path)
    said = said + [line.split(" ") for line in finisher.rest()]
    assert finisher.wait() == 0
    with SqliteClaimStore(path) as store:
        assert store.check() == []
        tasks = {(info.instance_id, info.task_id): info for info in store.list_tasks()}
    assert {info.state for info in tasks.values()} == {TaskState.COMPLETED}
    tokens: dict[tuple[str, str], list[int]] = {}
    for what, *words in said:
        if what == "added":
            assert (words[0], "last") in tasks
        if what == "completed":
            assert (tasks[words[0], words[1]].output or b"").decode() == words[2]
        if what == "claimed":
            tokens.setdefault((words[0], words[1]), []).append(int(words[2]))
    completed = [(words[1], words[2]) for words in said if words[0] == "completed"]
    assert len(completed) == len(set(completed)), "a completed task was done again"
    for key, given in tokens.items():
        assert len(given) == len(set(given)), f"{key}: a token was given twice"
        # The latest claim of the task has produced the stored output.
        assert (tasks[key].output or b"").decode().endswith(f":{max(given)}") or key not in completed


def test_workers_killed_at_any_moment_lose_nothing_that_was_acknowledged(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    verify(start, path, kill_over_and_over(start, path, 8, random.Random(1)))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_workers_killed_a_hundred_times_lose_nothing_that_was_acknowledged(
    start: Start, tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "jobs.db"
    verify(start, path, kill_over_and_over(start, path, 100, random.Random(seed)))
