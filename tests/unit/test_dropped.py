"""A store that is never closed ends when its last reference is dropped, as Python's file objects do."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore
from sqlite_claims.sqlite.scan import core_available
from sqlite_claims.sqlite.wal import checkpoints

from ..tiers import first_is_fast


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("use_c_core", first_is_fast([True, False] if core_available() else [False]))
def test_a_store_that_is_dropped_leaves_no_descriptor_no_session_and_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_c_core: bool
) -> None:
    monkeypatch.setattr(checkpoints, "PASSIVE_FRAMES", 1_000_000)
    path = tmp_path / "jobs.db"
    SqliteClaimStore(path).close()
    gc.collect()
    before = descriptors()
    for number in range(5):
        store = SqliteClaimStore(path, use_c_core=use_c_core)
        store.add_instance(f"i{number}", [NewTask("t")])
        store.open_session("worker")
        store.find_available_tasks("worker", 5)
        del store
        gc.collect()
    assert descriptors() == before
    with SqliteClaimStore(path) as store:
        assert {worker.alive for worker in store.list_workers()} == {False}
        assert len(list(store.list_instances())) == 5
        assert store.check() == []


@pytest.mark.parametrize("use_c_core", first_is_fast([True, False] if core_available() else [False]))
def test_the_thread_of_checkpoints_ends_with_a_store_that_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_c_core: bool
) -> None:
    monkeypatch.setattr(checkpoints, "PASSIVE_FRAMES", 1)
    path = tmp_path / "jobs.db"
    SqliteClaimStore(path).close()
    gc.collect()
    before = descriptors()
    for number in range(3):
        store = SqliteClaimStore(path, use_c_core=use_c_core)
        store.add_instance(f"i{number}", [NewTask("t")])
        checkpointer = store._db.opened.checkpointer
        assert checkpointer is not None
        thread = checkpointer._thread
        assert thread is not None
        del store, checkpointer
        gc.collect()
        thread.join(60)
        assert not thread.is_alive()
        del thread
    gc.collect()
    assert descriptors() == before
