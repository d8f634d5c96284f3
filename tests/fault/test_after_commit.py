"""Errors in the steps that follow a COMMIT. The operation has taken effect, so no error may suggest that the operation
has failed. Such an error is only logged. The exception of a signal handler, such as ``KeyboardInterrupt``, is raised
after all steps are done."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite_claims import (
    AsyncSqliteClaimStore,
    InstanceState,
    NewTask,
    NotFoundError,
    SqliteClaimStore,
    StoreUnavailableError,
)
from sqlite_claims.cli.app import run
from sqlite_claims.sqlite.doorbell import COMMITS, READY
from sqlite_claims.sqlite.lanes import Lanes
from sqlite_claims.sqlite.operations import control, pruning
from sqlite_claims.sqlite.statements import sql
from sqlite_claims.sqlite.store_time import StoreTime
from sqlite_claims.sqlite.wal import checkpoints

from ..conftest import WITH_CORE

ERRORS = [RuntimeError("no"), MemoryError(), OSError(errno.EIO, "no"), KeyboardInterrupt()]
CORES = [True, False] if WITH_CORE else [False]


def raise_once(error: BaseException, function: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """Return a wrapper of the function. The first time that ``when`` returns true for the arguments, the wrapper raises
    the error and does not call the function."""
    left = [error]

    def raising(*args: Any) -> Any:
        if left and when(*args):
            raise left.pop()
        return function(*args)

    return raising


def inject(monkeypatch: pytest.MonkeyPatch, store: SqliteClaimStore, place: str, error: BaseException) -> None:
    db: Any = store._db
    if place in ("lanes", "time"):
        kind: Any = {"lanes": Lanes, "time": StoreTime}[place]
        monkeypatch.setattr(kind, "saved", raise_once(error, kind.saved, lambda _: True))
    elif place in ("commits", "ready"):
        which = {"commits": COMMITS, "ready": READY}[place]
        monkeypatch.setattr(db.bell, "ring", raise_once(error, db.bell.ring, lambda rung: rung == which))
    elif place == "checkpointer":
        checkpointer: Any = db.opened.checkpointer
        monkeypatch.setattr(checkpointer, "committed", raise_once(error, checkpointer.committed, lambda _: True))
    else:  # simulates a signal handler that raises its exception as soon as COMMIT has returned

        def execute(statement: str, *bindings: Any, run: Callable[..., Any] = db.execute) -> Any:
            result = run(statement, *bindings)
            if statement == sql.commit and db.execute is execute:
                db.execute = run
                raise error
            return result

        db.execute = execute


def by_itself(store: SqliteClaimStore) -> None:
    store.add_instance("order", [NewTask("charge", kind="new")])


def in_a_transaction(store: SqliteClaimStore) -> None:
    with store.transaction() as tx:
        tx.add_instance("order", [NewTask("charge", kind="new")])


def in_another_thread(use: Callable[[], Any]) -> Any:
    """Return the result of a call in another thread. The call must return at once. A lock that was not released would
    block the call."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(use()))
    thread.start()
    thread.join(60)
    return results[0]


@pytest.mark.parametrize(
    ("place", "error"),
    [
        *product(["lanes", "time", "commits", "ready", "checkpointer"], ERRORS),
        ("at once", KeyboardInterrupt()),  # only a signal handler can raise an error at this point
    ],
    ids=repr,
)
@pytest.mark.parametrize("add", [by_itself, in_a_transaction])
@pytest.mark.parametrize("use_c_core", CORES)
def test_an_error_after_the_commit_of_a_write_leaves_it_done_and_waiting_workers_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: str,
    error: BaseException,
    add: Callable[[SqliteClaimStore], None],
    use_c_core: bool,
) -> None:
    store = SqliteClaimStore(tmp_path / "jobs.db", use_c_core=use_c_core, busy_timeout=1)
    rung = store._db.bell.read(READY)
    inject(monkeypatch, store, place, error)
    if isinstance(error, Exception):
        with caplog.at_level(logging.WARNING, "sqlite_claims"):
            add(store)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "committed, but an error followed" in caplog.text
    else:
        with pytest.raises(KeyboardInterrupt):
            add(store)
    assert store._db.bell.read(READY) != rung
    assert [task.task_id for task in in_another_thread(lambda: store.find_available_tasks("w", 5))] == ["charge"]
    store.add_instance("next", [NewTask("t", kind="newer")])
    assert store.check() == []
    store.close()
    store.close()


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("add", [by_itself, in_a_transaction])
def test_a_sync_that_fails_in_any_way_says_that_the_write_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, add: Callable[[SqliteClaimStore], None]
) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", busy_timeout=1) as store:
        monkeypatch.setattr(store._db.files.sync, "sync", raise_once(error, store._db.files.sync.sync, lambda: True))
        if isinstance(error, Exception):
            with pytest.raises(StoreUnavailableError, match="committed, but could not be synced"):
                add(store)
        else:
            with pytest.raises(KeyboardInterrupt):
                add(store)
        assert in_another_thread(lambda: store.get_task("order", "charge").task_id) == "charge"


@pytest.mark.parametrize(
    "error", [*ERRORS, apsw.IOError("disk I/O error"), apsw.FullError("full"), apsw.CorruptError("damaged")], ids=repr
)
@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_a_control_whose_steps_meet_an_error_has_taken_effect_and_is_followed_up_later(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    action: str,
) -> None:
    monkeypatch.setattr(control, "ROWS_PER_MOVE", 1)
    with SqliteClaimStore(tmp_path / "jobs.db", busy_timeout=1) as store:
        store.add_instance("order", [NewTask("a"), NewTask("b")])
        store.add_instance("other", [NewTask("c")])
        if action == "resume":
            store.pause_instance("order")
        monkeypatch.setattr(control, "move_step", raise_once(error, control.move_step, lambda _: True))
        if isinstance(error, Exception):
            getattr(store, f"{action}_instance")("order")
            # When the disk is full, the store uses its reserved space, so the step succeeds at the first attempt.
            assert ("took effect" in caplog.text) != isinstance(error, apsw.FullError)
        else:
            with pytest.raises(KeyboardInterrupt):
                getattr(store, f"{action}_instance")("order")
        state = {"pause": "paused", "resume": "in_progress", "cancel": "cancelled"}[action]
        assert store.get_instance("order").state == state
        for _ in range(4):
            store._db.rest_until = 0
            found = in_another_thread(lambda: store.find_available_tasks("w", 5))
        assert [task.task_id for task in found] == (["a", "b", "c"] if action == "resume" else ["c"])
        with store.transaction() as tx:
            assert tx.execute("SELECT count(*) FROM claims_instances WHERE moving IS NOT NULL") == [(0,)]
        assert store.check() == []


@pytest.mark.parametrize("error", [*ERRORS, apsw.IOError("disk I/O error")], ids=repr)
@pytest.mark.parametrize("step", ["remove_step", "shrink_step"])
def test_a_prune_whose_steps_meet_an_error_has_taken_effect_and_is_followed_up_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException, step: str
) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", busy_timeout=1) as store:
        store.add_instance("order", [NewTask("a", b"input" * 1000)])
        store.cancel_instance("order")
        monkeypatch.setattr(pruning, step, raise_once(error, getattr(pruning, step), lambda _: True))
        if isinstance(error, Exception):
            assert store.prune(0) == 1
            # When the disk is full, the store uses its reserved space, so the step succeeds at the first attempt.
            assert ("took effect" in caplog.text) != isinstance(error, apsw.FullError)
        else:
            with pytest.raises(KeyboardInterrupt):
                store.prune(0)
        with pytest.raises(NotFoundError):
            store.get_instance("order")
        assert store.prune(0) == 0
        with store.transaction() as tx:
            assert tx.execute("SELECT count(*) FROM claims_tasks") == [(0,)]
        assert store.check() == []


@pytest.mark.parametrize("operation", ["newest_token", "prune_instance"])
def test_a_prune_that_meets_an_error_tells_how_many_it_has_removed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", busy_timeout=1) as store:
        for name in ("first", "second", "third"):
            store.add_instance(name, [NewTask("t")])
            store.cancel_instance(name)
        calls: list[int] = []

        run = getattr(pruning, operation)

        def failing(*args: Any, **options: Any) -> Any:
            calls.append(1)
            if len(calls) == 2:
                raise apsw.IOError("disk I/O error")
            return run(*args, **options)

        monkeypatch.setattr(pruning, operation, failing)
        assert store.prune(0) == 1
        assert "the next prune will remove" in caplog.text
        assert store.prune(0) == 2


def test_a_thread_that_cannot_be_started_puts_a_checkpoint_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoints, "PASSIVE_FRAMES", 1)
    store = SqliteClaimStore(tmp_path / "jobs.db")

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as at_the_limit:
        at_the_limit.setattr(threading.Thread, "start", start)
        for number in range(5):
            store.add_instance(f"order-{number}", [NewTask("t")])
        assert len([record for record in caplog.records if "no thread could be started" in record.message]) == 1
        assert ["can't start new thread" in finding for finding in store.check()] == [True]
    store.add_instance("last", [NewTask("t")])  # starts the thread
    store.close()
    store.close()


@pytest.mark.parametrize("error", [apsw.FullError("database or disk is full"), MemoryError()], ids=repr)
def test_a_checkpoint_that_fails_is_logged_and_told_until_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(checkpoints, "PASSIVE_FRAMES", 1)
    fail = raise_once(error, checkpoints.Checkpointer._checkpoint, lambda *_: True)
    monkeypatch.setattr(checkpoints.Checkpointer, "_checkpoint", fail)
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        store.add_instance("order", [NewTask("t")])
        checkpointer = store._db.opened.checkpointer
        assert checkpointer is not None
        assert checkpointer._thread is not None
        checkpointer._thread.join(60)
        assert "a checkpoint failed" in caplog.text
        assert [type(error).__name__ in finding for finding in store.check()] == [True]
        done = threading.Event()

        def succeed(self: Any, connection: Any) -> None:
            fail(self, connection)
            done.set()

        monkeypatch.setattr(checkpoints.Checkpointer, "_checkpoint", succeed)
        store.add_instance("next", [NewTask("t")])
        assert done.wait(60)
        assert store.check() == []


def test_check_and_top_tell_of_a_wal_that_nobody_copies_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sqlite_claims.sqlite.database.BEHIND_FRAMES", 5)
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store._db.checkpoint()
        assert store.check() == []
        for number in range(5):
            store.add_instance(f"order-{number}", [NewTask("t")])
        assert ["not copied into the database yet" in finding for finding in store.check()] == [True]
        with SqliteClaimStore(path, read_only=True) as reader:
            assert ["not copied into the database yet" in finding for finding in reader.check()] == [True]
        assert run(["top", str(path), "--once"]) == 0
        assert "not copied into the database yet" in " ".join(capsys.readouterr().out.split())
        store._db.checkpoint()
        assert store.check() == []


@pytest.mark.parametrize("error", ERRORS[:3], ids=repr)
@pytest.mark.parametrize("part", ["scanner", "sync"])
def test_a_store_closes_whatever_closing_meets(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    part: str,
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    store = SqliteClaimStore(tmp_path / "jobs.db", use_c_core=False)
    store.open_session("w")
    store.add_instance("order", [NewTask("t")])
    kind: Any = type({"scanner": store._db.opened.scanner, "sync": store._db.files.sync}[part])
    monkeypatch.setattr(kind, "close", raise_once(error, kind.close, lambda _: True))
    store.close()
    assert "closing the file caused an error" in caplog.text
    store.close()
    with SqliteClaimStore(tmp_path / "jobs.db") as again:
        assert again.get_instance("order").state is InstanceState.IN_PROGRESS
    del store
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_asynchronous_store_without_a_thread_says_so_and_goes_on_when_it_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def use() -> None:
        store = AsyncSqliteClaimStore(tmp_path / "jobs.db")
        with monkeypatch.context() as at_the_limit:
            at_the_limit.setattr(threading.Thread, "start", start)
            with pytest.raises(StoreUnavailableError, match="no thread can be started"):
                await store.add_instance("order")
            with pytest.raises(StoreUnavailableError, match="no thread can be started"):
                async with AsyncSqliteClaimStore(tmp_path / "jobs.db"):
                    pass
            unused = AsyncSqliteClaimStore(tmp_path / "jobs.db")
            await unused.close()
        assert await store.add_instance("order")
        await store.close()

    asyncio.run(use())
