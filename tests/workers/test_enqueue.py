"""``enqueue`` of a decorated handler: one call adds one task."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import (
    AlreadyExistsError,
    AsyncSqliteClaimStore,
    InvalidArgumentError,
    SqliteClaimStore,
    TaskRef,
)
from sqlite_claims.workers import PooledWorker, TaskContext, TaskRegistry

registry = TaskRegistry()


@registry.task("add", codec="json", priority=2, max_attempts=1)
def add(a: int, b: int = 2) -> int:
    return a + b


@registry.task("raw")
def raw(task: TaskContext) -> bytes:
    return task.input.upper()


def test_enqueue_adds_a_task_and_returns_its_reference(store: Any) -> None:
    ref = add.enqueue(store, 1, b=5)
    assert isinstance(ref, TaskRef)
    PooledWorker(store, registry).run(until_idle=True)
    info = store.get_task(*ref)
    assert (info.kind, info.priority, info.max_attempts) == ("add", 2, 1)
    assert add.result(info) == 6


def test_without_a_codec_enqueue_takes_the_input(store: Any) -> None:
    given, none = raw.enqueue(store, b"in"), raw.enqueue(store)
    PooledWorker(store, registry).run(until_idle=True)
    assert raw.result(store.get_task(*given)) == b"IN"
    assert raw.result(store.get_task(*none)) == b""


def test_a_transaction_serves_for_the_store(store: Any) -> None:
    with suppress(InvalidArgumentError), store.transaction() as tx:
        add.options(instance_id="gone").enqueue(tx, 1)
        add.enqueue(tx, object())
    with store.transaction() as tx:
        ref = add.enqueue(tx, 1)
    assert store.get_task(*ref).kind == "add"
    assert [info.instance_id for info in store.list_instances()] == [ref.instance_id]


def test_options_of_enqueue(store: Any) -> None:
    once = add.options(instance_id="once", tags=["a"])
    ref = once.enqueue(store, 1)
    assert (ref.instance_id, store.get_task(*ref).tags) == ("once", ("a",))
    with pytest.raises(AlreadyExistsError):
        once.enqueue(store, 1)
    assert once.options(if_exists="skip").enqueue(store, 1) == ref
    with pytest.raises(InvalidArgumentError, match="depends_on"):
        add.options(depends_on=["x"]).enqueue(store, 1)


def test_refused_arguments_add_nothing(store: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="do not fit"):
        add.enqueue(store)
    with pytest.raises(InvalidArgumentError, match="cannot encode"):
        add.enqueue(store, object())
    assert not list(store.list_instances())


def test_the_default_handler_adds_tasks_without_a_kind(store: Any) -> None:
    own = TaskRegistry()
    default = own.task(codec="json")(lambda value: value)
    ref = default.enqueue(store, 7)
    assert store.get_task(*ref).kind == ""
    PooledWorker(store, own).run(until_idle=True)
    assert default.result(store.get_task(*ref)) == 7


def test_an_asynchronous_store_gives_an_awaitable(tmp_path: Path) -> None:
    async def main() -> list[TaskRef]:
        async with AsyncSqliteClaimStore(tmp_path / "jobs.db") as store:
            refs = [await add.enqueue(store, 1)]
            async with store.transaction() as tx:
                refs.append(await add.enqueue(tx, 2))
            return refs

    first, second = asyncio.run(main())
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        PooledWorker(store, registry).run(until_idle=True)
        assert [add.result(store.get_task(*ref)) for ref in (first, second)] == [3, 4]
