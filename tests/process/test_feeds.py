"""``prune`` keeps an instance to which a process is still adding tasks, even if all tasks that the instance has so far
have ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import InstanceState, NewTask, SqliteClaimStore
from sqlite_claims.workers import durable_map

from .map_runs import Runs, runs, wait_for
from .pool_runs import Pools, eventually, pools

__all__ = ["pools", "runs"]

# This program runs `sqlite-claims add` with batches of one line.
_ADD = "import sqlite_claims.cli.add as add; add._BATCH_TASKS = 1; from sqlite_claims.cli import main; main()"


def end_all(store: SqliteClaimStore, instance_id: str) -> None:
    """Claim and complete tasks until the instance has ended."""
    while store.get_instance(instance_id).state is InstanceState.IN_PROGRESS:
        for claimed in store.claim_available_tasks("worker", 10):
            store.complete_task(claimed.claim)


def test_the_instance_of_a_map_that_waits_for_input_is_not_pruned(runs: Runs) -> None:
    read, write = os.pipe()
    process = runs.start("--instance", "n", "-q", stdin=read)
    os.close(read)
    os.write(write, b"a\n")
    with SqliteClaimStore(runs.db) as store:
        wait_for(lambda: _has_ended(store, "n"))
        assert store.prune(0) == 0
        os.write(write, b"b\n")
        os.close(write)
        assert runs.finish(process).status == 0
        assert len(list(store.list_tasks("n"))) == 2
        assert store.prune(0) == 1


def test_the_instance_of_a_killed_map_is_pruned(runs: Runs) -> None:
    read, write = os.pipe()
    process = runs.start("--instance", "n", "-q", stdin=read)
    os.close(read)
    os.write(write, b"a\n")
    with SqliteClaimStore(runs.db) as store:
        wait_for(lambda: _has_ended(store, "n"))
        assert store.prune(0) == 0
        process.kill()
        process.wait()
        os.close(write)
        assert store.prune(0) == 1


def test_the_instance_of_an_add_that_waits_for_input_is_not_pruned(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    process = subprocess.Popen(
        [sys.executable, "-c", _ADD, "add", str(path), "n"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"a\n")
    process.stdin.flush()
    with SqliteClaimStore(path) as store:
        wait_for(lambda: list(store.list_instances()))
        end_all(store, "n")
        # the add command marks the instance as fed shortly after it has added the instance
        wait_for(lambda: store.prune(0) == 0)
        process.stdin.write(b"b\n")
        assert process.communicate(timeout=60)[0] == b"2 tasks added to n\n"
        end_all(store, "n")
        assert store.prune(0) == 1


def test_the_instance_of_a_durable_map_is_not_pruned_while_its_results_are_read(pools: Pools) -> None:
    functions: Any = import_module("pool_handlers")
    results = durable_map(functions.count_bytes, ["a", "bb"], path=pools.path, processes=1)
    assert next(results) == 1
    with SqliteClaimStore(pools.path) as store:
        name = next(store.list_instances()).instance_id
        eventually(lambda: _has_ended(store, name))
        assert store.prune(0) == 0
        assert list(results) == [2]
        assert store.prune(0) == 1


def test_a_fed_instance_does_not_hide_others_from_a_bounded_prune(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        for number in range(6):
            _, feed = store._add_fed_instance(f"i{number}", [NewTask("t")])
            end_all(store, f"i{number}")
            if number in (3, 5):
                feed.close()
        assert [store.prune(0, limit=1) for _ in range(3)] == [1, 1, 0]
        assert [info.instance_id for info in store.list_instances()] == ["i0", "i1", "i2", "i4"]


def test_a_mark_that_comes_between_the_two_steps_of_a_prune_is_heeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db") as store, SqliteClaimStore(tmp_path / "jobs.db") as other:
        store.add_instance("n", [NewTask("t")])
        end_all(store, "n")
        read = store._backend._read

        def candidates_first(operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            found = read(operation, *args, **kwargs)
            if operation.__name__ == "candidates":
                other._add_fed_instance("n")
            return found

        monkeypatch.setattr(store._backend, "_read", candidates_first)
        assert store.prune(0) == 0
        assert store.get_instance("n").state is InstanceState.COMPLETED


def test_an_instance_that_is_pruned_before_it_is_marked_is_added_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        store.add_instance("n", [NewTask("t")])
        end_all(store, "n")
        add = store.add_instance

        def add_and_prune(*args: Any, **options: Any) -> bool:
            added = add(*args, **options)
            store.prune(0)
            return added

        monkeypatch.setattr(store, "add_instance", add_and_prune)
        added, _ = store._add_fed_instance("n")
        assert added
        assert store.get_instance("n").state is InstanceState.IN_PROGRESS


def test_a_forked_child_does_not_keep_its_parents_mark(tmp_path: Path) -> None:
    held, let_go = os.pipe()
    awaited, forked = os.pipe()
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        store._add_fed_instance("n", [NewTask("t")])
        end_all(store, "n")
        child = os.fork()
        if child == 0:
            os.close(let_go)
            os.write(forked, b".")  # the child has returned from fork, so it has dropped the parent's resources
            os.read(held, 1)
            os._exit(0)
        try:
            os.close(forked)
            assert os.read(awaited, 1) == b"."
            assert store.prune(0) == 0
            store.close()
            with SqliteClaimStore(tmp_path / "jobs.db") as again:
                assert again.prune(0) == 1
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(held)
            os.close(let_go)
            os.close(awaited)


def test_a_durable_map_stays_with_the_file_that_was_meant_where_it_was_called(
    pools: Pools, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    functions: Any = import_module("pool_handlers")
    monkeypatch.chdir(Path(pools.path).parent)
    results = durable_map(functions.count_bytes, ["a"], path="relative.db", processes=1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert list(results) == [1]
    assert (Path(pools.path).parent / "relative.db").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def _has_ended(store: SqliteClaimStore, instance_id: str) -> bool:
    found: Iterator[Any] = store.list_instances(states=[InstanceState.COMPLETED])
    return any(info.instance_id == instance_id for info in found)


def test_a_feed_ends_although_other_code_has_closed_its_descriptor(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        _, feed = store._add_fed_instance("i", [NewTask("t")])
        os.close(feed._descriptor)
        feed.close()
        end_all(store, "i")
        assert store.prune(0) == 1
