"""A runner runs all tasks of one instance, in the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import InstanceState, InvalidStateError, NewTask, NotFoundError, RetryPolicy, TaskState
from sqlite_claims.workers import CheckpointingRunner, FailTask, PooledWorker, SnoozeTask, StopWorker, TaskContext

AT_ONCE = RetryPolicy(initial_delay=0)


class Handler:
    """A handler that records the tasks that it ran, and can be made to raise an error."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.raises: dict[str, BaseException] = {}

    def __call__(self, task: TaskContext) -> bytes:
        self.ran.append(task.task_id)
        if task.task_id in self.raises:
            raise self.raises.pop(task.task_id)
        return task.task_id.encode()


@pytest.fixture
def handler() -> Handler:
    return Handler()


def chain(*names: str, **options: Any) -> list[NewTask]:
    before = [[], *([name] for name in names)]
    return [NewTask(name, depends_on=needs, **options) for name, needs in zip(names, before, strict=False)]


def test_tasks_run_in_order_on_the_callers_thread_and_the_ended_instance_comes_back(
    store: Any, handler: Handler
) -> None:
    threads = set()

    def run(task: TaskContext) -> bytes:
        threads.add(threading.current_thread())
        return handler(task)

    store.add_instance("i", chain("c", "b", "a"))
    info = CheckpointingRunner(store, run).run("i")
    assert (info.instance_id, info.state) == ("i", InstanceState.COMPLETED)
    assert handler.ran == ["c", "b", "a"]
    assert threads == {threading.current_thread()}
    assert store.get_task("i", "a").output == b"a"


def test_tasks_that_are_ready_together_run_by_priority(store: Any, handler: Handler) -> None:
    store.add_instance("i", [NewTask("a", priority=5), NewTask("b", priority=1), NewTask("c", priority=3)])
    CheckpointingRunner(store, handler).run("i")
    assert handler.ran == ["b", "c", "a"]


def test_each_result_is_saved_before_the_next_task_starts(store: Any) -> None:
    seen = []

    def look(_: TaskContext) -> None:
        seen.append([str(store.get_task("i", name).state) for name in "ab"])

    store.add_instance("i", chain("a", "b"))
    CheckpointingRunner(store, look).run("i")
    assert seen == [["claimed", "blocked"], ["completed", "claimed"]]


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopWorker])
def test_a_second_call_goes_on_where_the_first_was_broken_off(store: Any, handler: Handler, error: Any) -> None:
    store.add_instance("i", chain("a", "b", "c"))
    handler.raises["b"] = error()
    with pytest.raises(error):
        CheckpointingRunner(store, handler).run("i")
    info = store.get_task("i", "b")
    assert (info.state, info.attempts) == (TaskState.READY, 0)
    assert list(store.list_workers()) == []
    assert CheckpointingRunner(store, handler).run("i").state is InstanceState.COMPLETED
    assert handler.ran == ["a", "b", "b", "c"]


class InterruptsWhenShown:
    """An object whose ``repr`` raises KeyboardInterrupt. The tests use it as a result and as an error."""

    def __repr__(self) -> str:
        raise KeyboardInterrupt


class InterruptsWhenAsked(FailTask):
    @property
    def error(self) -> str:  # type: ignore[override]
        raise KeyboardInterrupt

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize("raises", [False, True], ids=["returned", "raised"])
def test_an_interrupt_between_a_handlers_end_and_the_storing_charges_no_attempt(store: Any, raises: bool) -> None:
    def handler(_: TaskContext) -> Any:
        if raises:
            raise InterruptsWhenAsked
        return InterruptsWhenShown()

    store.add_instance("i", [NewTask("a")])
    with pytest.raises(KeyboardInterrupt):
        CheckpointingRunner(store, handler).run("i")
    info = store.get_task("i", "a")
    assert (info.state, info.attempts, info.failures) == (TaskState.READY, 0, 0)


def test_more_interrupts_while_a_task_is_given_back_cost_it_no_loss(store: Any, spy: Any, handler: Handler) -> None:
    interrupts = iter([KeyboardInterrupt(), KeyboardInterrupt()])

    def release(release_tasks: Callable[..., Any], *args: Any) -> Any:
        for interrupt in interrupts:
            raise interrupt
        return release_tasks(*args)

    store.add_instance("i", [NewTask("a", max_lost=1)])
    handler.raises["a"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        CheckpointingRunner(spy(store, release_tasks=release), handler).run("i")
    info = store.get_task("i", "a")
    assert (info.state, info.attempts, info.losses) == (TaskState.READY, 0, 0)


def test_an_error_is_tried_again_by_the_tasks_policy(store: Any, handler: Handler) -> None:
    store.add_instance("i", chain("a", "b", retry=RetryPolicy(initial_delay=0.02)))
    handler.raises["a"] = ValueError("first time")
    assert CheckpointingRunner(store, handler).run("i").state is InstanceState.COMPLETED
    assert handler.ran == ["a", "a", "b"]


def test_a_handler_that_exits_has_failed_and_the_rest_runs(store: Any, handler: Handler) -> None:
    store.add_instance("i", [*chain("a", "b", max_attempts=1), NewTask("c")])
    handler.raises["a"] = SystemExit(3)
    assert CheckpointingRunner(store, handler).run("i").state is InstanceState.FAILED
    assert handler.ran == ["a", "c"]
    assert store.get_task("i", "a").error.startswith("SystemExit: exit status 3")


def test_a_task_that_fails_for_good_fails_the_instance_and_the_rest_runs(store: Any, handler: Handler) -> None:
    store.add_instance("i", [*chain("a", "b", max_attempts=1), NewTask("c")])
    handler.raises["a"] = ValueError("no")
    assert CheckpointingRunner(store, handler).run("i").state is InstanceState.FAILED
    assert handler.ran == ["a", "c"]
    assert store.get_task("i", "b").state is TaskState.CANCELLED


def test_a_snoozed_task_is_waited_for(store: Any, handler: Handler) -> None:
    store.add_instance("i", chain("a"))
    handler.raises["a"] = SnoozeTask(0.02)
    assert CheckpointingRunner(store, handler).run("i").state is InstanceState.COMPLETED
    assert store.get_task("i", "a").attempts == 1


def test_tasks_that_a_task_adds_run_too(store: Any, handler: Handler) -> None:
    def add(_: TaskContext) -> None:
        store.add_tasks("i", chain("x", "y"))

    store.add_instance("i", [NewTask("a", kind="add")])
    CheckpointingRunner(store, {"add": add, "*": handler}).run("i")
    assert handler.ran == ["x", "y"]


def test_coroutines_run_as_any_handler(store: Any) -> None:
    async def run(task: TaskContext) -> bytes:
        return task.task_id.encode()

    store.add_instance("i", chain("a", "b"))
    assert CheckpointingRunner(store, run).run("i").state is InstanceState.COMPLETED
    assert store.get_task("i", "b").output == b"b"


def test_other_instances_are_left_alone(store: Any, handler: Handler) -> None:
    store.add_instance("i", chain("a"))
    store.add_instance("other", chain("b"))
    CheckpointingRunner(store, handler).run("i")
    assert handler.ran == ["a"]


def test_tasks_that_a_worker_holds_are_waited_for_and_never_run(store: Any, handler: Handler, gate: Any) -> None:
    store.add_instance("i", chain("a", "b"))
    with PooledWorker(store, {"*": lambda _: gate.pass_through()}).spawn() as worker:
        assert gate.reached.wait(30)
        worker.shutdown()
        runner = threading.Thread(target=CheckpointingRunner(store, handler).run, args=("i",))
        runner.start()
        gate.open.set()
        runner.join(30)
    assert handler.ran == ["b"]
    assert store.get_instance("i").state is InstanceState.COMPLETED


def test_a_pause_is_waited_out(store: Any, handler: Handler, eventually: Any) -> None:
    store.add_instance("i", chain("a"))
    store.pause_instance("i")
    runner = threading.Thread(target=CheckpointingRunner(store, handler).run, args=("i",))
    runner.start()
    eventually(lambda: len(list(store.list_workers())) == 1)
    store.resume_instance("i")
    runner.join(30)
    assert handler.ran == ["a"]


def test_an_instance_that_is_cancelled_meanwhile_ends_the_run(store: Any) -> None:
    def cancel(task: TaskContext) -> bytes:
        store.cancel_instance("i")
        assert task.cancelled.wait(30)
        return b"too late"

    store.add_instance("i", chain("a", "b"))
    assert CheckpointingRunner(store, cancel).run("i").state is InstanceState.CANCELLED
    assert store.get_task("i", "a").output is None


def test_an_instance_that_has_ended_or_has_no_tasks_comes_back_at_once(store: Any, handler: Handler) -> None:
    store.add_instance("empty")
    store.add_instance("ended", chain("a"))
    store.cancel_instance("ended")
    assert CheckpointingRunner(store, handler).run("empty").state is InstanceState.IN_PROGRESS
    assert CheckpointingRunner(store, handler).run("ended").state is InstanceState.CANCELLED
    assert handler.ran == []


def test_an_unknown_instance_is_an_error(store: Any, handler: Handler) -> None:
    with pytest.raises(NotFoundError):
        CheckpointingRunner(store, handler).run("nobody")


def test_a_task_that_nobody_can_run_is_an_error_and_not_a_wait_for_ever(store: Any, handler: Handler) -> None:
    store.add_instance("i", [NewTask("a", kind="known"), NewTask("b", kind="unknown", depends_on=["a"])])
    with pytest.raises(InvalidStateError, match="task 'b' of instance 'i' is of kind 'unknown'"):
        CheckpointingRunner(store, {"known": handler}).run("i")
    assert handler.ran == ["a"]


def test_a_kind_that_only_a_worker_handles_is_left_to_it(store: Any, handler: Handler) -> None:
    store.add_instance("i", [NewTask("a", kind="mine"), NewTask("b", kind="theirs", depends_on=["a"])])
    with PooledWorker(store, {"theirs": lambda _: b"by the worker"}).spawn():
        assert CheckpointingRunner(store, {"mine": handler}).run("i").state is InstanceState.COMPLETED
    assert store.get_task("i", "b").output == b"by the worker"


def test_the_claim_of_a_long_task_is_renewed(store: Any, spy: Any) -> None:
    renewed = threading.Semaphore(0)

    def renew(really: Callable[..., Any], *args: Any) -> Any:
        result = really(*args)
        renewed.release()
        return result

    def long(_: TaskContext) -> None:
        for _number in range(4):
            assert renewed.acquire(timeout=30)

    store.add_instance("i", chain("a"))
    CheckpointingRunner(spy(store, renew_task_claims=renew), long, claim_ttl=0.3).run("i")
    assert store.get_task("i", "a").attempts == 1
