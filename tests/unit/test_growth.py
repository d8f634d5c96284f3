"""Kinds, sets of tags, instances, workers and retry policies that are no longer used. The store removes their rows. The
rows that it keeps add no cost to a search for work."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import InMemoryClaimStore, NewTask, RetryPolicy, SqliteClaimStore
from sqlite_claims.sqlite import lanes
from sqlite_claims.sqlite.backend import SqliteBackend
from sqlite_claims.sqlite.database import Database
from sqlite_claims.sqlite.operations import unused_lanes

from ..conftest import WITH_CORE

CORES = [True, False] if WITH_CORE else [False]
TABLES = (
    "instances", "lanes", "policies", "tasks", "inputs", "outputs", "errors", "dependencies", "sessions", "pruned",
)  # fmt: skip


def rows(store: SqliteClaimStore) -> dict[str, int]:
    """Return the number of rows in each table."""
    with store.transaction() as tx:
        return {table: tx.execute(f"SELECT count(*) FROM claims_{table}")[0][0] for table in TABLES}  # noqa: S608


def steps(store: SqliteClaimStore, call: Callable[[], Any]) -> int:
    """Count the steps of SQLite's virtual machine that a call takes."""
    count = 0

    def another() -> bool:
        nonlocal count
        count += 1
        return False

    call()  # the first call prepares the call's statements
    store._db.connection.set_progress_handler(another, 1)
    call()
    store._db.connection.set_progress_handler(None)
    return count


def task(number: int) -> NewTask:
    """Return a task with a separate kind, set of tags and policy."""
    return NewTask(
        f"t{number}",
        b"in",
        kind=f"kind-{number}",
        tags=[f"tag-{number}"],
        retry=RetryPolicy(initial_delay=number + 0.5),
    )


def claim_and_give_back(store: SqliteClaimStore, **wanted: Any) -> None:
    store.release_tasks([work.claim for work in store.claim_available_tasks("w", **wanted)])


@pytest.mark.parametrize("use_c_core", CORES)
def test_lanes_without_a_row_in_the_order_cost_a_look_nothing(tmp_path: Path, use_c_core: bool) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process", use_c_core=use_c_core) as store:
        store.add_instance("work", [NewTask(f"u{number}", kind=f"used-{number}") for number in range(20)])
        looks = {
            "claim": lambda: claim_and_give_back(store),
            "find": lambda: store.find_available_tasks("w", 10),
            "wait": lambda: store.wait_for_tasks(0),
            "stats": store.stats,
            "of an instance": lambda: store.get_instance("work"),
        }
        before = {name: steps(store, look) for name, look in looks.items()}
        store.add_instance("gone", [task(number) for number in range(2000)])
        while found := store.claim_available_tasks("w", 500, kinds=[f"kind-{number}" for number in range(2000)]):
            store.complete_tasks([(work.claim, b"") for work in found])
        assert rows(store)["lanes"] == 2020  # tasks of these lanes still exist
        for _ in range(2 * lanes.CROWDED_SEARCHES):
            store.find_available_tasks("w", 1)
        after = {name: steps(store, look) for name, look in looks.items()}
        assert {name for name in looks if after[name] > before[name] * 1.5 + 200} == set()


@pytest.mark.parametrize("use_c_core", CORES)
def test_the_same_tasks_are_found_among_many_lanes_as_among_few(tmp_path: Path, use_c_core: bool) -> None:
    oracle = InMemoryClaimStore()
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process", use_c_core=use_c_core) as store:
        for one in (oracle, store):
            one.add_instance("a", [task(number) for number in range(100)])
            one.add_instance("b", [NewTask(f"u{number}", kind="k", priority=number % 5 + 1) for number in range(30)])
            one.pause_instance("b")
            one.resume_instance("b")
            claimed = one.claim_available_tasks("w", 40, ttl=0)  # some expired claims on the claimed side
            one.complete_tasks([(work.claim, b"") for work in claimed[::2]])
        some = [f"tag-{number}" for number in range(80)]
        for tags in (None, some, some[:3]):
            for kinds in (None, ["k", *(f"kind-{number}" for number in range(60))], ["k"], ["nothing"]):
                for limit in (1, 1000):
                    given = [
                        [
                            (task.instance_id, task.task_id)
                            for task in one.find_available_tasks("v", limit, tags=tags, kinds=kinds)
                        ]
                        for one in (oracle, store)
                    ]
                    assert given[0] == given[1]
        # Now the instances are moving, with rows on the ready, claimed and paused sides.
        for one in (oracle, store):
            one.pause_instance("a")
            with one.transaction() as tx:
                tx.resume_instance("a")
        found = [[task.task_id for task in one.find_available_tasks("v", 1000)] for one in (oracle, store)]
        assert found[0] == found[1]


def test_other_stores_learn_of_lanes_that_are_added_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db") as store, SqliteClaimStore(tmp_path / "jobs.db") as other:
        for number in range(30):
            store.add_instance(f"i{number}", [task(number)])
            assert len(other.find_available_tasks("w", 1000)) == number + 1
            assert len(other.find_available_tasks("w", 1000, kinds=["kind-0", f"kind-{number}"])) == min(number + 1, 2)
            assert len(store.find_available_tasks("w", 1000, tags=[f"tag-{number}"])) == 1
        read = []
        rows_of = Database.rows

        def noting(db: Database, statement: Any, *bindings: Any) -> Any:
            found: list[Any] = rows_of(db, statement, *bindings)
            if "FROM claims_lanes l WHERE l.id >" in statement:
                read.append(len(found))
            return found

        store.add_instance("last", [task(99)])
        monkeypatch.setattr(Database, "rows", noting)
        assert len(other.find_available_tasks("w", 1000)) == 31
        assert read == [1]  # only the new lane was read


def finished(store: SqliteClaimStore, instance: str) -> None:
    while found := store.claim_available_tasks("w", 500):
        store.complete_tasks([(work.claim, b"out") for work in found])
    assert store.get_instance(instance).state == "completed"


def test_prune_removes_lanes_and_policies_that_no_task_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unused_lanes, "KEPT", 4)
    monkeypatch.setattr(unused_lanes, "TASKS_PER_STEP", 7)
    monkeypatch.setattr(unused_lanes, "REMOVED_PER_STEP", 3)
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.add_instance(
            "stays", [task(1000), NewTask("claimed"), NewTask("blocked", kind="b", depends_on=["claimed"])]
        )
        store.add_instance("paused", [task(1001)])
        store.pause_instance("paused")
        store.add_instance("goes", [task(number) for number in range(20)])
        store.cancel_instance("goes")
        assert store.prune(0) == 1
        assert rows(store) == {
            "instances": 2, "lanes": 4, "policies": 3, "tasks": 4, "inputs": 2, "outputs": 0, "errors": 0,
            "dependencies": 1,
            "sessions": 0, "pruned": 0,
        }  # fmt: skip
        store.resume_instance("paused")
        names = [work.task_id for work in store.find_available_tasks("w", 10)]
        assert names == ["t1000", "claimed", "t1001"]
        assert store.check() == []


def test_a_prune_with_few_lanes_makes_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unused_lanes, "pass_step", None)
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.add_instance("goes", [task(number) for number in range(20)])
        store.cancel_instance("goes")
        assert store.prune(0) == 1


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_pass_is_made_once_nothing_more_is_to_be_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(unused_lanes, "KEPT", 0)
    begun: list[int] = []
    begin = unused_lanes.begin

    def noting(db: Database) -> unused_lanes.Unused | None:
        begun.append(1)
        return begin(db)

    monkeypatch.setattr(unused_lanes, "begin", noting)
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        for number in range(4):
            store.add_instance(f"i{number}", [task(number)])
            store.cancel_instance(f"i{number}")
        while store.prune(0, limit=limit):
            pass
        assert rows(store)["lanes"] == 0
    assert begun == [1]


def test_an_error_while_lanes_are_removed_leaves_them_to_the_next_prune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unused_lanes, "KEPT", 4)

    def fail(*_: Any) -> Any:
        raise RuntimeError("no")

    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        for step in ("begin", "pass_step", "remove_step", None):
            store.add_instance("goes", [task(number) for number in range(20)])
            store.cancel_instance("goes")
            with monkeypatch.context() as failing:
                if step is not None:
                    failing.setattr(unused_lanes, step, fail)
                assert store.prune(0) == 1
            assert rows(store)["lanes"] == (20 if step is not None else 0)
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 3


def prune_the_newest(other: SqliteClaimStore) -> None:
    other.cancel_instance("newest")
    assert other.prune(0) == 1
    other.add_instance("new", [task(3)])


# Actions of another process. These calls run after the removal of unused lanes has read all tasks, and before the lanes
# are removed.
MEANWHILE: dict[str, Callable[[SqliteClaimStore], Any]] = {
    "uses an unused lane and policy": lambda other: other.add_instance("new", [task(3)]),
    "uses them after the newest task is gone": prune_the_newest,
    "adds more tasks than are looked at once more": lambda other: other.add_instance(
        "new", [task(3), *(NewTask(f"u{number}") for number in range(10))]
    ),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=list(MEANWHILE))
def test_tasks_that_are_added_while_unused_lanes_are_looked_for_keep_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[SqliteClaimStore], Any]
) -> None:
    monkeypatch.setattr(unused_lanes, "KEPT", 0)
    monkeypatch.setattr(unused_lanes, "TASKS_PER_STEP", 5)
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process") as store, SqliteClaimStore(path, durability="process") as other:
        store.add_instance("goes", [task(number) for number in range(8)])
        store.add_instance("newest", [NewTask("t", kind="newest")])
        other.find_available_tasks("w", 1)  # makes the second store object read the lanes
        store.cancel_instance("goes")
        remove = unused_lanes.remove_step
        done: list[Any] = []

        def remove_later(db: Database, unused: unused_lanes.Unused) -> bool:
            if not done:
                db.execute("ROLLBACK")
                done.append(True)
                with monkeypatch.context() as undisturbed:
                    undisturbed.setattr(SqliteBackend, "_remove_unused", lambda *_: ())
                    meanwhile(other)
                db.execute("BEGIN IMMEDIATE")
            return remove(db, unused)

        monkeypatch.setattr(unused_lanes, "remove_step", remove_later)
        store.prune(0)
        monkeypatch.setattr(unused_lanes, "remove_step", remove)
        for one in (store, other):
            found = one.find_available_tasks("w", 1000, kinds=["kind-3"])
            assert [(task.kind, task.tags) for task in found] == [("kind-3", ("tag-3",))]
        [work] = other.claim_available_tasks("w", kinds=["kind-3"])
        other.fail_task(work.claim, "broke")  # this task will be retried with the task's policy
        assert other.get_task("new", "t3").retry.initial_delay == 3.5
        store.add_instance("again", [task(4)])  # the lane of this task may have been removed
        assert [task.task_id for task in other.find_available_tasks("w", 10, kinds=["kind-4"])] == ["t4"]
        assert store.check() == []
        monkeypatch.setattr(unused_lanes, "TASKS_PER_STEP", 5000)
        store.add_instance("more")
        store.cancel_instance("more")
        assert store.prune(0) == 1
        assert rows(store)["lanes"] <= 4


def test_a_store_in_memory_keeps_nothing_of_what_has_gone() -> None:
    store = InMemoryClaimStore()
    store.add_instance("stays", [NewTask("t")])
    for turn in range(3):
        store.add_instance("goes", [task(number) for number in range(20)])
        for number in range(20):
            session = store.open_session(f"worker-{number}")
            store.claim_available_tasks("w", 1, session=session)
            session.close()
        while found := store.claim_available_tasks("w", 500, kinds=[f"kind-{number}" for number in range(20)]):
            store.complete_tasks([(work.claim, b"") for work in found])
        assert store.prune(0) == 1, turn
    engine = store._backend.engine
    assert len(engine.state.claimable) == 1
    assert engine.state.sessions == {}
    assert len(engine.dead_sessions) <= 1
    assert [len(kept) for kept in (engine.state.tasks, engine.state.tally, engine.state.dependents)] == [1, 1, 0]


def churn(store: SqliteClaimStore, turns: range) -> None:
    """In each turn, add an instance of ten tasks, each with a new kind, a new set of tags and a new policy. A new
    worker completes these tasks."""
    for turn in turns:
        numbers = range(turn * 10, turn * 10 + 10)
        store.add_instance(f"instance-{turn}", [task(number) for number in numbers])
        with store.open_session(f"worker-{turn}") as session:
            found = store.claim_available_tasks(
                f"worker-{turn}", 10, session=session, kinds=[f"kind-{n}" for n in numbers]
            )
            store.complete_tasks([(work.claim, b"out") for work in found])
        if turn % 100 == 99:
            while store.prune(0, limit=100):
                pass


def measured(store: SqliteClaimStore) -> dict[str, int]:
    """Return the cost of a claim in steps of SQLite's virtual machine, the size of the file, and the size of this
    process's data about the file."""
    gc.collect()
    store._db.checkpoint()
    return {
        "steps of a claim": steps(store, lambda: claim_and_give_back(store)),
        "steps of a find": steps(store, lambda: store.find_available_tasks("w", 10)),
        "bytes of the file": os.path.getsize(store.path),
        "bytes of -sessions": os.path.getsize(f"{store.path}-sessions"),
        "bytes of -bell": os.path.getsize(f"{store.path}-bell") if os.path.exists(f"{store.path}-bell") else 0,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "lanes known": len(store._db.lanes._by_id) + len(store._db.lanes._by_column) + len(store._db.lanes._ids),
        "selections": len(store._db.lanes._selected),
    }


def come_and_go(store: SqliteClaimStore, turns: int) -> tuple[dict[str, int], dict[str, int]]:
    store.add_instance("work", [NewTask(f"u{number}") for number in range(50)])
    churn(store, range(200))  # until the free pages of the file and the caches have reached their final size
    before = measured(store)
    churn(store, range(200, 200 + turns))
    return before, measured(store)


@pytest.mark.slow
@pytest.mark.parametrize("use_c_core", CORES)
def test_changing_names_leave_a_store_as_it_was(tmp_path: Path, use_c_core: bool) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process", use_c_core=use_c_core) as store:
        before, after = come_and_go(store, 400)
        compare(before, after)
        left = rows(store)
        assert left["lanes"] <= unused_lanes.KEPT
        assert left["policies"] <= unused_lanes.KEPT + 1
        assert {table: left[table] for table in ("instances", "tasks", "inputs", "outputs", "sessions")} == {
            "instances": 1, "tasks": 50, "inputs": 0, "outputs": 0, "sessions": 0,
        }  # fmt: skip
        assert store.check() == []


def compare(before: dict[str, int], after: dict[str, int]) -> None:
    assert after["steps of a claim"] <= before["steps of a claim"] * 1.1 + 50
    assert after["steps of a find"] <= before["steps of a find"] * 1.1 + 50
    assert after["bytes of the file"] <= before["bytes of the file"] * 1.5
    for name in ("bytes of -bell", "descriptors", "selections"):
        assert after[name] <= before[name], name
    assert after["bytes of -sessions"] <= 4096
    assert after["lanes known"] <= before["lanes known"] + 8 * unused_lanes.KEPT


@pytest.mark.soak
def test_a_hundred_thousand_changing_names_leave_a_store_as_it_was(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        before, after = come_and_go(store, 10_000)
        for name, value in before.items():
            print(f"\n{name}: {value:,} before, {after[name]:,} after 100,000 kinds, sets of tags and policies", end="")
        compare(before, after)
        assert store.check() == []


def test_a_cancelled_instance_whose_rows_are_not_updated_yet_is_pruned_without_a_trace(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.add_instance("cancelled", [NewTask(f"t{number}") for number in range(5)])
        store.add_instance("waiting", [NewTask("behind")])
        store._backend.cancel_instance("cancelled", reason=None)  # as if the process were killed before the first step
        assert store.prune(0) == 1
        assert store.check() == []
        with store.transaction() as tx:
            assert tx.execute("SELECT moving FROM claims_meta") == [(0,)]
        assert [task.task_id for task in store.find_available_tasks("w", 5)] == ["behind"]
