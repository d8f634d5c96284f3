"""A worker in the test's own process: the tasks that the worker claims, holds, loses and releases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import (
    NewTask,
    RetryPolicy,
    TaskState,
)
from sqlite_claims.workers import PooledWorker, TaskContext


def nothing(task: TaskContext) -> None: ...


def states(store: Any, instance_id: str = "i") -> dict[str, str]:
    return {task.task_id: str(task.state) for task in store.list_tasks(instance_id)}


# -- tasks that the worker claims


def test_it_runs_all_there_is_and_then_is_idle(store: Any) -> None:
    store.add_instance("i", [NewTask(f"t{n}") for n in range(300)])
    summary = PooledWorker(store, nothing, concurrency=3).run(until_idle=True)
    assert (summary.reason, summary.completed) == ("idle", 300)
    assert set(states(store).values()) == {"completed"}


def test_tasks_of_other_kinds_stay_available_and_untouched(store: Any) -> None:
    store.add_instance("i", [NewTask("mine", kind="a"), NewTask("theirs", kind="b"), NewTask("nobodys")])
    assert PooledWorker(store, {"a": nothing}).run(until_idle=True).completed == 1
    assert states(store) == {"mine": "completed", "theirs": "ready", "nobodys": "ready"}
    assert store.get_task("i", "theirs").claim is None
    assert store.get_task("i", "theirs").attempts == 0


def test_tags_bound_what_it_takes_and_what_it_waits_for(store: Any) -> None:
    store.add_instance("i", [NewTask("plain"), NewTask("gpu", tags=["gpu"]), NewTask("big", tags=["gpu", "big"])])
    assert PooledWorker(store, nothing, tags=["gpu"]).run(until_idle=True).completed == 2
    assert states(store)["big"] == "ready"


def test_dependents_follow_in_the_same_run(store: Any) -> None:
    tasks = [NewTask("0")] + [NewTask(str(n), depends_on=[str(n - 1)]) for n in range(1, 20)]
    store.add_instance("i", tasks)
    assert PooledWorker(store, nothing).run(until_idle=True).completed == 20


def test_until_idle_waits_for_what_is_scheduled(store: Any) -> None:
    store.add_instance("i", [NewTask("t", delay=0.2)])
    assert PooledWorker(store, nothing).run(until_idle=True).completed == 1


def test_until_idle_waits_for_what_another_holds(store: Any) -> None:
    store.add_instance("i", [NewTask("held"), NewTask("next", depends_on=["held"])])
    claim = store.claim_task("i", "held", "another", 60)
    with PooledWorker(store, nothing).spawn(until_idle=True) as handle:
        assert handle.join(timeout=0.1) is None
        store.complete_task(claim)
        assert handle.join().completed == 1


def test_until_idle_does_not_wait_for_what_is_paused(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    store.pause_instance("i")
    assert PooledWorker(store, nothing).run(until_idle=True).completed == 0


def test_until_idle_does_not_wait_for_another_kind_that_someone_holds(store: Any) -> None:
    store.add_instance("i", [NewTask("t", kind="b")])
    store.claim_task("i", "t", "another", 60)
    assert PooledWorker(store, {"a": nothing}).run(until_idle=True).reason == "idle"


def test_concurrency_is_the_number_of_tasks_that_run_at_a_time(store: Any) -> None:
    store.add_instance("i", [NewTask(f"t{n}") for n in range(4)])
    meeting = threading.Barrier(4, timeout=30)
    assert (
        PooledWorker(store, lambda _: str(meeting.wait()).encode(), concurrency=4).run(until_idle=True).completed == 4
    )


def test_a_worker_can_run_again(store: Any) -> None:
    worker = PooledWorker(store, nothing)
    for name in "ab":
        store.add_instance(name, [NewTask("t")])
        assert worker.run(until_idle=True).completed == 1


# -- batches


def test_many_short_tasks_share_a_transaction(store: Any, spy: Any) -> None:
    calls = []

    def claim(really: Callable[..., Any], *args: Any, **options: Any) -> Any:
        calls.append(args[1])
        return really(*args, **options)

    store.add_instance("i", [NewTask(f"t{n}") for n in range(500)])
    assert PooledWorker(spy(store, claim_available_tasks=claim), nothing).run(until_idle=True).completed == 500
    assert len(calls) < 250
    assert calls[0] == 1


def test_no_more_than_the_batch_size_is_held(store: Any, spy: Any) -> None:
    limits = []

    def claim(really: Callable[..., Any], *args: Any, **options: Any) -> Any:
        limits.append(args[1])
        return really(*args, **options)

    store.add_instance("i", [NewTask(f"t{n}") for n in range(50)])
    PooledWorker(spy(store, claim_available_tasks=claim), nothing, batch_size=3).run(until_idle=True)
    assert max(limits) <= 3


def test_tasks_waiting_behind_a_long_one_are_given_back_and_results_are_stored(
    store: Any, gate: Any, eventually: Any
) -> None:
    """The batch grows because of short tasks, then one task takes a long time. While that task runs, a second worker
    can claim the remaining tasks of the batch."""

    def long_in_the_middle(task: TaskContext) -> None:
        if task.task_id == "t100":
            gate.pass_through()

    store.add_instance("i", [NewTask(f"t{n}") for n in range(140)])
    with PooledWorker(store, long_in_the_middle).spawn() as handle:
        assert gate.reached.wait(30)
        with PooledWorker(store, nothing).spawn():
            eventually(lambda: list(states(store).values()).count("completed") == 139)
        assert states(store)["t100"] == "claimed"
        gate.open.set()
        handle.shutdown()
        assert handle.join().lost == 0
    assert all(task.attempts == 1 for task in store.list_tasks("i"))


def test_a_task_that_was_tried_before_is_held_alone(store: Any) -> None:
    """A task that was tried before may kill its worker again. Each time, all other tasks of the same batch would be
    lost, too."""
    held = []

    def fail_once(task: TaskContext) -> None:
        if task.attempt == 1:
            raise ValueError
        held.append(len(list(store.list_claims(task.worker_id))))

    store.add_instance("i", [NewTask(f"t{n}", retry=RetryPolicy(initial_delay=0)) for n in range(40)])
    assert PooledWorker(store, fail_once).run(until_idle=True).completed == 40
    assert held == [1] * 40


# -- claims that are renewed, and claims that are lost


def test_claims_are_renewed_for_as_long_as_a_task_runs(store: Any, spy: Any) -> None:
    renewed = threading.Semaphore(0)

    def renew(really: Callable[..., Any], *args: Any) -> Any:
        result = really(*args)
        renewed.release()
        return result

    def long(task: TaskContext) -> None:
        first = task.claim
        for _ in range(5):
            assert renewed.acquire(timeout=30)
        assert task.claim.expires_at > first.expires_at  # type: ignore[operator]
        assert task.claim.token == first.token

    store.add_instance("i", [NewTask("t", max_attempts=1)])
    worker = PooledWorker(spy(store, renew_task_claims=renew), long, claim_ttl=0.3)
    assert worker.run(until_idle=True).completed == 1
    assert store.get_task("i", "t").losses == 0


def test_one_renewal_serves_all_claims_of_the_worker(store: Any, spy: Any, gate: Any) -> None:
    sizes = []
    meeting = threading.Barrier(3, timeout=30)

    def renew(really: Callable[..., Any], claims: Any, ttl: Any) -> Any:
        sizes.append(len(claims))
        gate.open.set()
        return really(claims, ttl)

    def long(_: TaskContext) -> None:
        meeting.wait()
        gate.pass_through()

    store.add_instance("i", [NewTask(f"t{n}") for n in range(3)])
    worker = PooledWorker(spy(store, renew_task_claims=renew), long, concurrency=3, claim_ttl=30, heartbeat_interval=1)
    worker.run(until_idle=True)
    assert sizes == [3]


def test_a_claim_without_an_end_is_never_renewed(store: Any, spy: Any) -> None:
    renewals: list[Any] = []
    watched = threading.Semaphore(0)

    def watch(really: Callable[..., Any], *args: Any) -> Any:
        watched.release()
        return really(*args)

    def long(_: TaskContext) -> None:
        for _number in range(3):
            assert watched.acquire(timeout=30)

    store.add_instance("i", [NewTask("t")])
    watching = spy(store, list_claims=watch, renew_task_claims=lambda *args: renewals.append(args))
    worker = PooledWorker(watching, long, claim_ttl=None, heartbeat_interval=0.01, poll_interval=0.02)
    assert worker.run(until_idle=True).completed == 1
    assert renewals == []


def cancel(store: Any) -> None:
    store.cancel_instance("i")


def take_away(store: Any) -> None:
    store.release_task_claim("i", "t", "me")
    assert store.claim_task("i", "t", "another", 60) is not None


@pytest.mark.parametrize("end_claim", [cancel, take_away])
def test_a_claim_that_is_gone_sets_cancelled_and_the_result_is_dropped(store: Any, end_claim: Any) -> None:
    reached = threading.Event()

    def notice(task: TaskContext) -> bytes:
        reached.set()
        assert task.cancelled.wait(30)
        return b"too late"

    store.add_instance("i", [NewTask("t")])
    with PooledWorker(store, notice, worker_id="me", poll_interval=0.05).spawn() as handle:
        assert reached.wait(30)
        end_claim(store)
        handle.shutdown()
        summary = handle.join()
    assert (summary.completed, summary.lost) == (0, 1)
    assert store.get_task("i", "t").output is None


def test_a_claim_that_is_gone_by_the_time_of_the_result_counts_as_lost(store: Any) -> None:
    def cut_the_branch(_: TaskContext) -> bytes:
        cancel(store)
        return b"too late"

    store.add_instance("i", [NewTask("t")])
    summary = PooledWorker(store, cut_the_branch).run(until_idle=True)
    assert (summary.completed, summary.lost) == (0, 1)


def test_a_handler_may_complete_its_task_in_a_transaction_of_its_own(store: Any, spy: Any) -> None:
    watched = threading.Semaphore(0)

    def watch(really: Callable[..., Any], *args: Any) -> Any:
        watched.release()
        return really(*args)

    def commit(task: TaskContext) -> None:
        with store.transaction() as tx:
            tx.complete_task(task.claim, b"with my rows")
        for _ in range(3):
            assert watched.acquire(timeout=30)
        assert not task.cancelled.is_set()

    store.add_instance("i", [NewTask("t")])
    summary = PooledWorker(spy(store, list_claims=watch), commit, poll_interval=0.02).run(until_idle=True)
    assert (summary.completed, summary.lost) == (1, 0)
    assert store.get_task("i", "t").output == b"with my rows"


def test_a_coroutine_is_cancelled_when_its_claim_is_gone(store: Any) -> None:
    reached, was_cancelled = threading.Event(), threading.Event()

    async def sleep(_: TaskContext) -> None:
        reached.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            was_cancelled.set()
            raise

    store.add_instance("i", [NewTask("t")])
    with PooledWorker(store, sleep, poll_interval=0.05).spawn() as handle:
        assert reached.wait(30)
        cancel(store)
        assert was_cancelled.wait(30)
        handle.shutdown()
        assert handle.join().lost == 1


def test_a_pause_lets_what_runs_finish_and_nothing_else_start(store: Any, gate: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u", depends_on=["t"])])
    with PooledWorker(store, lambda _: gate.pass_through(), poll_interval=0.05).spawn(until_idle=True) as handle:
        assert gate.reached.wait(30)
        store.pause_instance("i")
        gate.open.set()
        assert handle.join().completed == 1
    assert states(store) == {"t": "completed", "u": "ready"}


def test_a_task_past_its_time_is_a_failure_and_its_late_result_is_dropped(store: Any) -> None:
    returned = threading.Event()

    def slow(task: TaskContext) -> bytes:
        assert task.cancelled.wait(30)
        returned.set()
        return b"too late"

    store.add_instance("i", [NewTask("t", max_attempts=1)])
    summary = PooledWorker(store, slow, task_timeout=0.05).run(until_idle=True)
    assert returned.is_set()
    assert (summary.completed, summary.failed, summary.lost) == (0, 1, 0)
    info = store.get_task("i", "t")
    assert (info.state, info.error, info.losses) == (TaskState.FAILED, "timed out after 0.05 s", 0)


@pytest.mark.slow
def test_a_handler_that_ignores_its_end_keeps_neither_the_next_task_nor_the_run_from_ending(
    store: Any, gate: Any
) -> None:
    store.add_instance("i", [NewTask("stuck", kind="stuck", max_attempts=1), NewTask("next", kind="next")])
    handlers = {"stuck": lambda _: gate.pass_through(), "next": nothing}
    summary = PooledWorker(store, handlers, task_timeout=0.05).run(until_idle=True)
    assert (summary.completed, summary.failed) == (1, 1)
    assert not gate.open.is_set()
