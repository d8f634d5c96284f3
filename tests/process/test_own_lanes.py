"""Large instances have their own lanes, so that no search reads the tasks of a large instance while the instance is
paused or cancelled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import AlreadyExistsError, NewTask, SqliteClaimStore
from sqlite_claims.sqlite import lanes
from sqlite_claims.sqlite.operations import adding, control

from ..conftest import WITH_CORE

FEW, MANY = 100, 3000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "OWN_LANES_FROM", FEW)
    monkeypatch.setattr(lanes, "OWN_MAX", 3)


@pytest.fixture(params=[False, True] if WITH_CORE else [False], ids=lambda core: "C" if core else "Python")
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process", use_c_core=request.param) as store:
        yield store


def tasks(count: int, **options: Any) -> list[NewTask]:
    return [NewTask(f"t{number:05}", **options) for number in range(count)]


def offered(store: SqliteClaimStore, limit: int = 5, **wanted: Any) -> list[tuple[str, str]]:
    return [(task.instance_id, task.task_id) for task in store.find_available_tasks("w", limit, **wanted)]


def lane_count(store: SqliteClaimStore) -> int:
    count: Any = store._db.read(
        lambda db: db.execute("SELECT count(*) FROM claims_lanes WHERE instance != 0").fetchall()
    )
    return int(count[0][0])


def steps(store: SqliteClaimStore, call: Callable[[], Any]) -> int:
    """Count the instructions of SQLite's virtual machine that the call runs, in tens."""
    count = 0

    def step() -> bool:
        nonlocal count
        count += 1
        return False

    store._db.connection.set_progress_handler(step, 10)
    call()
    store._db.connection.set_progress_handler(None)
    return count


PAUSE: Callable[[SqliteClaimStore], Any] = lambda store: store._db.write(control.pause, False, "large")  # noqa: E731
CANCEL: Callable[[SqliteClaimStore], Any] = lambda store: store._db.write(control.cancel, False, "large", None)  # noqa: E731


@pytest.mark.parametrize("signal", [PAUSE, CANCEL], ids=["paused", "cancelled"])
def test_what_stands_behind_a_large_instance_is_found_at_once_while_it_is_being(
    store: SqliteClaimStore, signal: Callable[[SqliteClaimStore], Any]
) -> None:
    store.add_instance("large", tasks(MANY, priority=1))
    store.add_instance("behind", tasks(2))
    signal(store)  # at this point, none of the instance's rows has been moved
    find = lambda: store._db.read(lambda db: store._db.scan(db.lanes.select((), None), 10, None, True))  # noqa: E731
    assert offered(store) == [("behind", "t00000"), ("behind", "t00001")]
    assert steps(store, find) < FEW
    assert [claimed.task.instance_id for claimed in store.claim_available_tasks("w", 5)] == ["behind", "behind"]


def test_its_tasks_come_in_their_order_among_all_others_whichever_lane_they_are_in(store: SqliteClaimStore) -> None:
    store.add_instance("large", tasks(FEW - 1))
    store.add_instance("other", tasks(1))
    store.add_tasks("large", [NewTask("more"), NewTask("first", priority=1)])
    store.add_instance("last", tasks(1))
    assert lane_count(store) == 1
    names = offered(store, 1000)
    assert names[0] == ("large", "first")
    assert names[-3:] == [("other", "t00000"), ("large", "more"), ("last", "t00000")]


def test_kinds_and_tags_admit_to_its_lanes_as_to_the_shared_ones(store: SqliteClaimStore) -> None:
    store.add_instance("large", [*tasks(FEW, kind="x", tags=["a"]), NewTask("y", kind="y", tags=["b"])])
    assert lane_count(store) == 2
    assert offered(store, kinds=["y"]) == offered(store, tags=["b"]) == [("large", "y")]
    assert offered(store, 1, kinds=["x"], tags=["a", "c"]) == [("large", "t00000")]
    assert offered(store, kinds=["x"], tags=["c"]) == []
    assert {task.kind for task in store.list_tasks(kinds=["x"])} == {"x"}
    assert (store.get_task("large", "y").kind, store.get_task("large", "y").tags) == ("y", ("b",))


def test_another_process_notices_that_it_was_paused_and_that_it_goes_on(
    store: SqliteClaimStore, tmp_path: Path
) -> None:
    store.add_instance("large", tasks(MANY))
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as other:
        assert offered(other, 1) == [("large", "t00000")]
        store.pause_instance("large")
        assert offered(other) == []
        store.add_tasks("large", [NewTask("while paused", priority=1)])
        assert offered(other) == []
        store.resume_instance("large")
        assert offered(other, 1) == [("large", "while paused")]
        assert other.check() == []


def test_one_that_had_ended_and_is_in_progress_again_is_found_again(store: SqliteClaimStore) -> None:
    store.add_instance("large", tasks(FEW, max_attempts=1))
    claimed = store.claim_available_tasks("w", FEW)
    store.complete_tasks([(one.claim, b"") for one in claimed[1:]])
    store.fail_task(claimed[0].claim, "no")
    assert store.get_instance("large").state == "failed"
    # makes the next search read the lanes again, without the lanes of ended instances
    store.add_instance("another", tasks(FEW))
    assert offered(store, 1) == [("another", "t00000")]
    store.retry_task("large", "t00000")
    assert ("large", "t00000") in offered(store, 1000)
    store.complete_task(store.claim_task("large", "t00000", "w", 30))  # type: ignore[arg-type]
    store.add_instance("yet another", tasks(FEW))
    store.add_tasks("large", [NewTask("more", priority=1)])
    assert offered(store, 1) == [("large", "more")]


def test_there_are_only_so_many_of_them_and_pruning_takes_them_away(store: SqliteClaimStore) -> None:
    for number in range(5):
        store.add_instance(f"large {number}", tasks(FEW))
    assert lane_count(store) == 3
    assert len(offered(store, 1000)) == 5 * FEW
    store.cancel_instance("large 0")
    store.add_instance("large 5", tasks(FEW))
    assert lane_count(store) == 4
    assert store.prune(0) == 1
    assert lane_count(store) == 3
    assert store.check() == []


def test_paused_ones_count_since_they_can_be_resumed(store: SqliteClaimStore) -> None:
    for number in range(4):
        store.add_instance(f"large {number}", tasks(FEW))
        store.pause_instance(f"large {number}")
    assert lane_count(store) == 3
    for number in range(4):
        store.resume_instance(f"large {number}")
    assert len(offered(store, 1000)) == 4 * FEW


def add_claim_pause_and_raise(store: SqliteClaimStore) -> None:
    with store.transaction() as tx:
        tx.add_instance("large", tasks(FEW))
        assert len(tx.claim_available_tasks("w", 1000)) == FEW
        tx.pause_instance("large")
        tx.add_instance("large")


def test_lanes_that_an_undone_transaction_added_are_forgotten(store: SqliteClaimStore) -> None:
    for _ in range(2):
        with pytest.raises(AlreadyExistsError):
            add_claim_pause_and_raise(store)
    assert offered(store) == []
    store.add_instance("other", tasks(FEW))
    assert len(offered(store, 1000)) == FEW
    assert store.check() == []
