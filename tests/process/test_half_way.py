"""Processes killed half-way through a pause, resume, cancel or prune. The call has taken effect, and the next process
that searches for work or prunes completes the rest."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import InstanceState, InvalidStateError, NewTask, NotFoundError, SqliteClaimStore, TaskState
from sqlite_claims.sqlite.operations import control, pruning

from ..tiers import first_is_fast
from .children import Start

TASKS = max(10 * control.ROWS_PER_MOVE, 3 * pruning.TASKS_PER_STEP)
AT_ONCE = 100_000

# This code reports that the process can be killed, and waits. The code runs within the statement that changes the n-th
# row, or between two steps.
HALF_WAY = """
path, what, where, n = args
store = SqliteClaimStore(path)
count = 0
def another(*_):
    global count
    count += 1
    if count == int(n):
        say("within")
        hear()
if where == "row":
    store._db.connection.set_update_hook(another)
else:
    time.sleep = another
if what == "prune":
    store.prune(0)
elif what == "look":
    while True:
        store.find_available_tasks("w", 1)
else:
    getattr(store, f"{what}_instance")("large")
say("done")
"""
MOMENTS = [("row", 2), ("row", 100), ("row", 3 * control.ROWS_PER_MOVE + 100), ("step", 1), ("step", 3)]


def fill(path: Path, tasks: int) -> None:
    with SqliteClaimStore(path, durability="process") as store:
        store.add_instance("large")
        for begin in range(0, tasks, AT_ONCE):
            numbers = range(begin, min(begin + AT_ONCE, tasks))
            store.add_tasks("large", [NewTask(f"t{n:07}", priority=n % 5 + 1) for n in numbers])
        store.add_instance("small", [NewTask("behind", priority=5)])


def one(path: Path, sql: str) -> Any:
    with SqliteClaimStore(path) as store, store.transaction() as tx:
        return tx.execute(sql)[0][0]


def killed(start: Start, path: Path, what: str, where: str, n: int) -> None:
    child = start(HALF_WAY, path, what, where, n)
    child.says("within")
    child.kill()


def look_until_all_rows_follow(path: Path, tasks: int) -> None:
    """Search for work until all rows have been moved. Each search makes one step, because the test clears the rest
    period between steps."""
    with SqliteClaimStore(path) as store:
        for _ in range(tasks // control.ROWS_PER_MOVE + 2):
            store._db.rest_until = 0
            store.find_available_tasks("w", 1)
    assert one(path, "SELECT moving FROM claims_meta") == 0


def names(store: SqliteClaimStore, limit: int) -> list[str]:
    return [task.task_id for task in store.find_available_tasks("w", limit)]


@pytest.mark.parametrize(("where", "n"), first_is_fast(MOMENTS))
def test_a_pause_holds_and_is_followed_through(start: Start, tmp_path: Path, where: str, n: int) -> None:
    path = tmp_path / "jobs.db"
    fill(path, TASKS)
    with SqliteClaimStore(path) as store:
        everything = names(store, TASKS + 1)
    killed(start, path, "pause", where, n)
    # In this case, the process was killed within the transaction that pauses the instance, so SQLite rolled it back.
    taken_back = (where, n) == ("row", 2)
    with SqliteClaimStore(path) as store:
        if taken_back:
            assert names(store, TASKS + 1) == everything
            return
        assert store.get_instance("large").state is InstanceState.PAUSED
        assert names(store, 10) == ["behind"]
        assert store.claim_task("large", "t0000000", "w", 30) is None
        store.pause_instance("large")  # the instance is already paused
    look_until_all_rows_follow(path, TASKS)
    with SqliteClaimStore(path) as store:
        assert store.check() == []
        assert names(store, 10) == ["behind"]
        store.resume_instance("large")
        assert names(store, TASKS + 1) == everything
        assert store.check() == []


@pytest.mark.parametrize(("where", "n"), first_is_fast(MOMENTS[1:]))
def test_a_resumed_instance_runs_and_is_followed_through(start: Start, tmp_path: Path, where: str, n: int) -> None:
    path = tmp_path / "jobs.db"
    fill(path, TASKS)
    with SqliteClaimStore(path) as store:
        everything = names(store, TASKS + 1)
        store.pause_instance("large")
    killed(start, path, "resume", where, n)
    with SqliteClaimStore(path) as store:
        assert store.get_instance("large").state is InstanceState.IN_PROGRESS
        assert names(store, TASKS + 1) == everything
    look_until_all_rows_follow(path, TASKS)
    with SqliteClaimStore(path) as store:
        assert names(store, TASKS + 1) == everything
        assert store.check() == []


@pytest.mark.parametrize(("where", "n"), first_is_fast(MOMENTS[1:]))
def test_a_cancellation_stands_and_is_followed_through(start: Start, tmp_path: Path, where: str, n: int) -> None:
    path = tmp_path / "jobs.db"
    fill(path, TASKS)
    killed(start, path, "cancel", where, n)
    with SqliteClaimStore(path) as store:
        assert store.get_instance("large").counts[TaskState.CANCELLED] == TASKS
        assert names(store, 10) == ["behind"]
        assert {task.state for task in store.list_tasks("large")} == {TaskState.CANCELLED}
        with pytest.raises(InvalidStateError):
            store.resume_instance("large")
    look_until_all_rows_follow(path, TASKS)
    with SqliteClaimStore(path) as store:
        assert store.check() == []
    assert one(path, "SELECT count(*) FROM claims_tasks WHERE state != 5") == 1


@pytest.mark.parametrize(("where", "n"), first_is_fast([*MOMENTS[1:3], ("step", 1)]))
def test_a_pruned_instance_is_gone_and_the_next_to_prune_removes_what_is_left(
    start: Start, tmp_path: Path, where: str, n: int
) -> None:
    path = tmp_path / "jobs.db"
    fill(path, TASKS)
    with SqliteClaimStore(path) as store:
        store.cancel_instance("large")
    killed(start, path, "prune", where, n)
    with SqliteClaimStore(path) as store:
        with pytest.raises(NotFoundError):
            store.get_instance("large")
        # The instance was pruned, so a new instance can have the same name.
        store.add_instance("large", [NewTask("t0000000")])
        assert store.check() == []
        assert store.prune(10**6) == 0
        assert store.check() == []
    assert one(path, "SELECT count(*) FROM claims_tasks") == 2


@pytest.mark.slow
def test_the_process_that_continues_may_be_killed_too(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    fill(path, TASKS)
    killed(start, path, "cancel", "row", 100)
    choose = random.Random(5)
    moved = 0
    for _ in range(6):
        killed(start, path, "look", "row", control.ROWS_PER_MOVE + choose.randrange(5, control.ROWS_PER_MOVE))
        before, moved = moved, one(path, "SELECT count(*) FROM claims_tasks WHERE state = 5")
        assert before < moved < TASKS
    look_until_all_rows_follow(path, TASKS)
    with SqliteClaimStore(path) as store:
        assert store.check() == []


@pytest.mark.soak
def test_signals_to_many_tasks_may_be_killed_anywhere(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    tasks = 200_000
    fill(path, tasks)
    choose = random.Random(1)
    for what in ("pause", "resume", "cancel"):
        for signal in (what, "look", "look"):
            killed(start, path, signal, "row", row := choose.randrange(5, tasks // 4))
            print(f"\n{what}: killed at the change of row {row:,} of a {signal}")
        look_until_all_rows_follow(path, tasks)
        with SqliteClaimStore(path) as store:
            assert store.check() == []
            assert names(store, 1) == (["t0000000"] if what == "resume" else ["behind"])
    with SqliteClaimStore(path) as store:
        assert store.get_instance("large").counts[TaskState.CANCELLED] == tasks
    path.unlink()
