"""Code that only mypy --strict reads (`make lint`) and that never runs: the public types are those that the
documentation promises to callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

from sqlite_claims import (
    AsyncSqliteClaimStore,
    AsyncTaskClaimStore,
    AvailableTask,
    CheckpointingRunner,
    ClaimedTask,
    InMemoryClaimStore,
    InstanceInfo,
    InstanceState,
    InvalidArgumentError,
    NewTask,
    PooledWorker,
    RunSummary,
    SqliteClaimStore,
    StoreStats,
    TaskClaim,
    TaskClaimStore,
    TaskContext,
    TaskInfo,
    TaskRef,
    TaskRegistry,
    TaskState,
    WorkerInfo,
    WorkerPool,
    WorkerSession,
    WorkerStore,
    current_task,
    durable_map,
    restore,
)
from sqlite_claims.interface import Settled
from sqlite_claims.testing import ManualClock

# Every store satisfies the protocol.
of_file: TaskClaimStore = SqliteClaimStore("jobs.db")
in_memory: TaskClaimStore = InMemoryClaimStore(clock=ManualClock())
of_coroutines: AsyncTaskClaimStore = AsyncSqliteClaimStore("jobs.db")

# States and errors are instances of their base types.
state: str = TaskState.READY
instance_state: str = InstanceState.PAUSED
error: ValueError = InvalidArgumentError("ttl")


def a_worker(store: TaskClaimStore, session: WorkerSession) -> PooledWorker:
    """A worker accepts any store, and a claim can be bound to any session."""
    with store.open_session("w") as opened:
        store.claim_task("i", "t", "w", 30, session=opened)
    store.claim_available_tasks("w", session=session)
    worker_store: WorkerStore = store
    return PooledWorker(worker_store, {})


def ends(task: TaskInfo, instance: InstanceInfo) -> None:
    assert_type(task.state.has_ended, bool)
    assert_type(instance.state.has_ended, bool)


def store_methods(store: TaskClaimStore, claim: TaskClaim, tasks: Iterator[NewTask]) -> None:
    assert_type(store.claim_task("i", "t", "w", 30), TaskClaim | None)
    assert_type(store.claim_task("i", "t", "w", timedelta(seconds=30)), TaskClaim | None)
    assert_type(store.claim_task("i", "t", "w", None), TaskClaim | None)
    assert_type(store.find_available_tasks("w", 1, tags=["a"], kinds={"b"}), list[AvailableTask])
    assert_type(store.claim_available_tasks("w"), list[ClaimedTask])
    assert_type(store.renew_task_claim(claim, 0.5), TaskClaim)
    assert_type(store.complete_tasks([(claim, b"")]), Settled)
    assert_type(store.add_instance("i", tasks, if_exists="skip"), bool)
    assert_type(store.get_task("i", "t"), TaskInfo)
    assert_type(store.get_instance("i"), InstanceInfo)
    assert_type(store.wait_for_instance("i", 1), InstanceInfo | None)
    assert_type(store.list_tasks(states=[TaskState.READY]), Iterator[TaskInfo])
    assert_type(store.list_claims(), Iterator[TaskClaim])
    assert_type(store.list_workers(), Iterator[WorkerInfo])
    assert_type(store.stats(), StoreStats)
    assert_type(store.wait_for_tasks(1), bool)
    assert_type(store.aging_interval, float | None)
    with store as same, same.transaction() as tx:
        assert_type(tx.claim_available_tasks("w"), list[ClaimedTask])
        tx.execute("SELECT ?", (1,))


def what_is_refused(store: TaskClaimStore, claim: TaskClaim) -> None:
    # Each ignore is checked, too, because mypy --strict reports an ignore that is not needed.
    store.claim_task("i", "t", "w")  # type: ignore[call-arg]  # ttl has no default
    store.claim_task("i", "t", "w", "30")  # type: ignore[arg-type]
    store.add_instance("i", if_exists="replace")  # type: ignore[arg-type]
    claim.token = 1  # type: ignore[misc]
    with store.transaction() as tx:
        tx.list_tasks()  # type: ignore[attr-defined]


async def async_methods(store: AsyncTaskClaimStore, claim: TaskClaim) -> None:
    async with store:
        assert_type(await store.claim_task("i", "t", "w", 30), TaskClaim | None)
        assert_type(await store.claim_available_tasks("w"), list[ClaimedTask])
        assert_type(await store.get_task("i", "t"), TaskInfo)
        await store.complete_task(claim, b"done")


def workers(store: SqliteClaimStore) -> None:
    registry = TaskRegistry()

    @registry.task("shout")
    def shout(context: TaskContext) -> bytes:
        return context.input.upper()

    assert_type(shout(TaskContext.__new__(TaskContext)), bytes)
    assert_type(PooledWorker(store, registry).run(until_idle=True), RunSummary)
    assert_type(PooledWorker(store, {"shout": shout, "*": shout}).run(), RunSummary)
    assert_type(PooledWorker(store, shout).spawn().join(), RunSummary)
    assert_type(WorkerPool("jobs.db", "tasks:registry", processes=2).run(), RunSummary)
    assert_type(CheckpointingRunner(store, registry).run("i"), InstanceInfo)


def task_functions(store: SqliteClaimStore) -> None:
    registry = TaskRegistry()

    @registry.task("add", codec="json", timeout=60, max_attempts=1)
    def add(left: int, right: int) -> int:
        return left + right

    @registry.lifespan
    def open_connection() -> Iterator[None]:
        yield

    @registry.middleware
    def measure(call_next: Callable[[TaskContext], Any], context: TaskContext) -> Any:
        return call_next(context)

    assert_type(add(1, right=2), int)
    add("1", 2)  # type: ignore[arg-type]
    assert_type(add.new("t", 1, right=2), NewTask)
    assert_type(add.enqueue(store, 1, 2), TaskRef)
    with store.transaction() as tx:
        assert_type(add.enqueue(tx, 1, 2), TaskRef)
    add.options(priority="high")  # type: ignore[arg-type]
    assert_type(add.options(priority=1)(1, 2), int)
    assert_type(current_task(), TaskContext)
    registry.task("none")(add)  # type: ignore[type-var, arg-type]  # without a codec, a handler takes the context
    assert_type(PooledWorker(store, {"add": add}).run(), RunSummary)


def keeping() -> None:
    restore("backup.db", Path("jobs.db"), replace=True)


def mapping() -> None:
    def double(number: int) -> int:
        return 2 * number

    assert_type(list(durable_map(double, [1, 2], path="jobs.db")), list[int])
