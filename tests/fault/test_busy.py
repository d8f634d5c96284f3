"""While one writer holds the lock for a long time, other writers give up after their ``busy_timeout`` and change
nothing. Readers are not blocked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import InstanceState, NewTask, SqliteClaimStore, StoreBusyError, StoreFullError
from sqlite_claims.sqlite.operations import control, pruning

from ..process.children import Child, Start

HOLD = """
store = SqliteClaimStore(args[0])
with store.transaction(600) as tx:
    tx.add_instance("theirs")
    say("holding")
    hear()
say("done")
hear()
"""

WRITES: dict[str, Callable[[SqliteClaimStore], Any]] = {
    "add": lambda store: store.add_instance("mine"),
    "claim": lambda store: store.claim_task("i", "t", "w", 1),
    "claim what there is": lambda store: store.claim_available_tasks("w", 1, 1),
    "pause": lambda store: store.pause_instance("i"),
    "begin a transaction": lambda store: store.transaction(0.05).__enter__(),
    "open a session": lambda store: store.open_session("w"),
    "prune": lambda store: store.prune(0),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(path, busy_timeout=0.1) as store:
        store.add_instance("i", [NewTask("t")])
        store.add_instance("old", [NewTask("t")])
        store.cancel_instance("old")
        yield store


@pytest.fixture
def holder(start: Start, store: SqliteClaimStore) -> Child:
    child = start(HOLD, store.path)
    child.says("holding")
    return child


def test_writes_give_up_in_time_and_change_nothing_while_another_process_stays_in_a_transaction(
    store: SqliteClaimStore, holder: Child
) -> None:
    def seen() -> list[Any]:
        return [list(store.list_instances()), list(store.list_tasks()), list(store.list_workers())]

    before = seen()
    for what, write in WRITES.items():
        began = time.monotonic()
        with pytest.raises(StoreBusyError):
            write(store)
        assert time.monotonic() - began >= 0.04, what
        assert seen() == before, what
    assert [task.task_id for task in store.find_available_tasks("w", 5)] == ["t"]
    holder.tell()
    holder.says("done")
    assert store.add_instance("mine")
    assert {info.instance_id for info in store.list_instances()} == {"i", "old", "theirs", "mine"}


def test_no_timeout_means_no_waiting(path: Path, holder: Child) -> None:
    with SqliteClaimStore(path, busy_timeout=0) as store, pytest.raises(StoreBusyError):
        store.add_instance("mine")
    holder.tell()


def test_a_waiting_writer_gets_the_lock_as_soon_as_it_is_free(path: Path, holder: Child) -> None:
    with SqliteClaimStore(path, busy_timeout=600) as store:
        waiting = threading.Thread(target=store.add_instance, args=("mine",))
        waiting.start()
        holder.tell()
        holder.says("done")
        waiting.join(60)
        assert not waiting.is_alive()
        assert store.get_instance("mine")


def test_a_store_can_be_opened_and_closed_while_another_process_writes(path: Path, holder: Child) -> None:
    for options in ({}, {"create": False}, {"read_only": True}):
        with SqliteClaimStore(path, **options) as store:  # type: ignore[arg-type]
            assert store.get_instance("i")
            assert store.check() == []
    holder.tell()


def test_a_killed_holder_lets_the_writer_go_and_leaves_nothing_of_its_transaction(
    store: SqliteClaimStore, holder: Child
) -> None:
    holder.kill()
    assert store.add_instance("mine")
    assert {info.instance_id for info in store.list_instances()} == {"i", "old", "mine"}
    assert store.check() == []


@pytest.mark.slow
def test_threads_that_wait_for_each_others_transaction_give_up_too(store: SqliteClaimStore) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction(600) as tx:
            tx.add_instance("theirs")
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(60)
    try:
        calls: list[Callable[[SqliteClaimStore], Any]] = [*WRITES.values(), lambda store: store.get_instance("i")]
        for call in calls:
            with pytest.raises(StoreBusyError):
                call(store)
    finally:
        leave.set()
        thread.join()
    assert store.get_instance("theirs")


@pytest.mark.parametrize("error", [StoreBusyError, StoreFullError])
@pytest.mark.parametrize(("signal", "state"), [("pause", InstanceState.PAUSED), ("cancel", InstanceState.CANCELLED)])
def test_a_signal_that_has_taken_effect_does_not_fail_for_the_steps_that_follow(
    store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch, error: type[Exception], signal: str, state: InstanceState
) -> None:
    def no_step(_: object) -> bool:
        raise error("not now")

    with monkeypatch.context() as patch:
        patch.setattr(control, "move_step", no_step)
        getattr(store, f"{signal}_instance")("i")
    assert store.get_instance("i").state is state
    assert store.find_available_tasks("w", 5) == []
    assert store.check() == []


def test_a_pruning_that_comes_to_a_busy_writer_tells_how_many_it_has_pruned(
    store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        store.add_instance(f"old{number}")
        store.cancel_instance(f"old{number}")
    calls = []

    def prune(db: Any, id: int, prune: Any = pruning.prune_instance, **seen: Any) -> bool:
        calls.append(id)
        if len(calls) == 3:
            raise StoreBusyError("not now")
        return bool(prune(db, id, **seen))

    monkeypatch.setattr(pruning, "prune_instance", prune)
    assert store.prune(0) == 2
    assert store.prune(0) == 2
    assert {info.instance_id for info in store.list_instances()} == {"i"}
    assert store.check() == []
