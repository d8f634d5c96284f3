"""The outcome of a task for each way in which the task's handler can end: results, failures, retries."""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from contextvars import ContextVar
from typing import Any

import pytest

from sqlite_claims import InvalidStateError, NewTask, NotFoundError, RetryPolicy, TaskState
from sqlite_claims.workers import CheckpointingRunner, FailTask, PooledWorker, SnoozeTask, StopWorker, TaskContext

AT_ONCE = RetryPolicy(initial_delay=0)


def run(store: Any, handlers: Any, *tasks: NewTask, **options: Any) -> Any:
    store.add_instance("i", tasks or [NewTask("t", max_attempts=1)])
    return PooledWorker(store, handlers, **options).run(until_idle=True)


@pytest.mark.parametrize(("returned", "stored"), [(b"done", b"done"), (None, b""), (bytearray(b"ab"), b"ab")])
def test_the_return_value_of_the_handler_is_the_output(store: Any, returned: Any, stored: bytes) -> None:
    summary = run(store, lambda _: returned)
    assert store.get_task("i", "t").output == stored
    assert (summary.reason, summary.completed, summary.failed, summary.lost) == ("idle", 1, 0, 0)


def test_context_variables_that_a_handler_sets_are_gone_in_the_next_task(store: Any) -> None:
    user: ContextVar[str] = ContextVar("user", default="nobody")
    seen = []

    def use_variable(task: TaskContext) -> None:
        seen.append(user.get())
        user.set(task.task_id)

    run(store, use_variable, NewTask("t"), NewTask("u"))
    CheckpointingRunner(store, use_variable).run(store.add_instance("j", [NewTask("v"), NewTask("w")]) and "j")
    assert seen == ["nobody"] * 4
    assert user.get() == "nobody"


@pytest.mark.parametrize("returned", ["text", 7, {"a": 1}, array("d", [1.5]), (n for n in "a generator")])
def test_a_result_that_is_not_bytes_fails_for_good_and_says_so(store: Any, returned: Any) -> None:
    assert run(store, lambda _: returned, NewTask("t", max_attempts=3)).failed == 1
    assert store.get_task("i", "t").state is TaskState.FAILED
    assert "a handler's result must be bytes-like" in store.get_task("i", "t").error


def test_an_error_is_stored_with_its_type_its_message_and_where_it_was_raised(store: Any) -> None:
    def raise_it(_: TaskContext) -> None:
        raise LookupError("no such order")

    run(store, raise_it)
    first, *rest = store.get_task("i", "t").error.splitlines()
    assert first == "LookupError: no such order"
    assert any("in raise_it" in line for line in rest)
    assert not any("execute.py" in line for line in rest)


def test_an_error_of_any_size_is_stored_in_a_bounded_space(store: Any) -> None:
    def raise_it(_: TaskContext) -> None:
        raise ValueError("x" * 1_000_000)

    run(store, raise_it)
    assert len(store.get_task("i", "t").error) < 20_000


@pytest.mark.parametrize("nested", [RuntimeError, SystemExit, KeyboardInterrupt, StopWorker])
def test_an_error_whose_message_cannot_be_made_is_stored_all_the_same(store: Any, nested: Any) -> None:
    class BadError(Exception):
        def __str__(self) -> str:
            raise nested

        __repr__ = __str__

    def raise_it(_: TaskContext) -> None:
        error = BadError()
        error.__notes__ = [error]  # type: ignore[list-item]
        raise error from BadError()

    summary = run(store, raise_it)
    assert (summary.reason, summary.failed) == ("idle", 1)
    assert store.get_task("i", "t").error.startswith(f"BadError: (its message raised {nested.__name__})")


def test_a_result_that_cannot_be_shown_fails_for_good(store: Any) -> None:
    class Bad:
        def __repr__(self) -> str:
            raise SystemExit(4)

    summary = run(store, lambda _: Bad(), NewTask("t", max_attempts=3))
    assert (summary.reason, summary.failed) == ("idle", 1)


@pytest.mark.parametrize("asked", [FailTask, SnoozeTask])
def test_a_malformed_request_of_a_handler_is_a_failed_attempt(store: Any, asked: Any) -> None:
    class Half(asked):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

    def raise_it(_: TaskContext) -> None:
        raise Half

    summary = run(store, raise_it)
    assert (summary.reason, summary.failed) == ("idle", 1)
    assert "has no attribute" in store.get_task("i", "t").error


def test_a_failure_is_retried_by_the_policy_of_its_task(store: Any) -> None:
    attempts = []

    def third_time(task: TaskContext) -> bytes:
        attempts.append(task.attempt)
        if len(attempts) < 3:
            raise ValueError
        return b"ok"

    summary = run(store, third_time, NewTask("t", max_attempts=3, retry=AT_ONCE))
    assert attempts == [1, 2, 3]
    assert (summary.completed, summary.failed) == (1, 2)


def test_fail_task_ends_it_whatever_attempts_are_left(store: Any) -> None:
    def give_up(_: TaskContext) -> None:
        raise FailTask("the order was withdrawn")

    assert run(store, give_up, NewTask("t", max_attempts=10)).failed == 1
    info = store.get_task("i", "t")
    assert (info.state, info.error, info.attempts) == (TaskState.FAILED, "the order was withdrawn", 1)


def test_a_snoozed_task_comes_again_at_no_cost(store: Any) -> None:
    attempts = []

    def later(task: TaskContext) -> None:
        attempts.append(task.attempt)
        if len(attempts) < 3:
            raise SnoozeTask(0.02)

    summary = run(store, later)
    assert attempts == [1, 1, 1]
    assert (summary.completed, summary.failed, summary.lost) == (1, 0, 0)


def test_a_snooze_without_sense_is_a_failure(store: Any) -> None:
    def later(_: TaskContext) -> None:
        raise SnoozeTask(-1)

    assert run(store, later).failed == 1
    assert "InvalidArgumentError: delay" in store.get_task("i", "t").error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StopWorker(), "stopped"),
        (KeyboardInterrupt(), "interrupted"),
        (BaseExceptionGroup("of a task group", [ValueError(), StopWorker()]), "stopped"),
    ],
    ids=["StopWorker", "KeyboardInterrupt", "group"],
)
def test_an_error_that_asks_to_quit_ends_the_run_and_gives_the_task_back(store: Any, error: Any, reason: str) -> None:
    def leave(_: TaskContext) -> None:
        raise error

    store.add_instance("i", [NewTask("t")])
    assert PooledWorker(store, leave).run().reason == reason
    info = store.get_task("i", "t")
    assert (info.state, info.attempts) == (TaskState.READY, 0)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (None, "SystemExit: exit status 0"),
        (3, "SystemExit: exit status 3"),
        ("no such option", "SystemExit: exit status 1: no such option"),
    ],
)
@pytest.mark.parametrize("coroutine", [False, True])
def test_a_handler_that_exits_has_failed_and_the_error_tells_the_status(
    store: Any, code: Any, told: str, coroutine: bool
) -> None:
    def leave(_: TaskContext) -> None:
        raise SystemExit(code)

    async def leave_later(_: TaskContext) -> None:
        raise SystemExit(code)

    tasks = [NewTask("t", max_attempts=2, retry=AT_ONCE), NewTask("u", kind="other")]
    handlers = {"*": leave_later if coroutine else leave, "other": lambda _: b"done"}
    summary = run(store, handlers, *tasks)
    assert (summary.reason, summary.completed, summary.failed) == ("idle", 1, 2)
    assert store.get_task("i", "t").error.splitlines()[0] == told


def test_other_errors_that_are_no_exceptions_are_failures_all_the_same(store: Any) -> None:
    class OddError(BaseException): ...

    def raise_it(_: TaskContext) -> None:
        raise OddError

    assert run(store, raise_it).failed == 1


def test_the_context_tells_all_about_the_attempt(store: Any) -> None:
    seen: dict[str, Any] = {}

    def look(task: TaskContext) -> None:
        names = ("instance_id", "task_id", "kind", "input", "attempt", "worker_id")
        seen.update({name: getattr(task, name) for name in names})
        seen["claim"] = task.claim.is_owned_by(task.worker_id) and task.claim.token > 0
        seen["cancelled"] = task.cancelled.is_set()

    run(store, look, NewTask("t", b"in", kind="k"), worker_id="me")
    assert seen == {
        "instance_id": "i",
        "task_id": "t",
        "kind": "k",
        "input": b"in",
        "attempt": 1,
        "worker_id": "me",
        "claim": True,
        "cancelled": False,
    }


def test_a_task_reads_the_results_of_those_before_it(store: Any) -> None:
    handlers = {"one": lambda _: b"1", "sum": lambda task: task.result_of("a") + task.result_of("b")}
    run(store, handlers, *(NewTask(n, kind="one") for n in "ab"), NewTask("c", kind="sum", depends_on=["a", "b"]))
    assert store.get_task("i", "c").output == b"11"


def test_a_result_that_is_not_there_is_an_error(store: Any) -> None:
    errors = []

    def look(task: TaskContext) -> None:
        for name in ("t", "nobody"):
            with contextlib.suppress(InvalidStateError, NotFoundError):
                task.result_of(name)
                errors.append(name)

    run(store, look)
    assert errors == []


def test_a_coroutine_is_run_and_its_result_stored(store: Any) -> None:
    async def double(task: TaskContext) -> bytes:
        await asyncio.sleep(0)
        return task.input * 2

    run(store, double, NewTask("t", b"ab"))
    assert store.get_task("i", "t").output == b"abab"


def test_coroutines_run_together_on_one_loop(store: Any) -> None:
    loops = set()
    arrived: list[asyncio.Future[None]] = []

    async def meet(_: TaskContext) -> None:
        loop = asyncio.get_running_loop()
        loops.add(loop)
        arrived.append(loop.create_future())
        if len(arrived) == 5:
            for future in arrived:
                future.set_result(None)
        await arrived[-1]

    summary = run(store, meet, *(NewTask(f"t{n}") for n in range(5)), concurrency=5)
    assert (summary.completed, len(loops)) == (5, 1)


@pytest.mark.parametrize("error", [ValueError, FailTask])
def test_an_error_in_a_coroutine_is_its_tasks(store: Any, error: Any) -> None:
    async def raise_it(_: TaskContext) -> None:
        raise error("in a coroutine")

    assert run(store, raise_it).failed == 1
    assert "in a coroutine" in store.get_task("i", "t").error


def test_quitting_from_a_coroutine_ends_the_run_and_leaves_the_others_their_loop(store: Any) -> None:
    async def leave(task: TaskContext) -> bytes:
        if task.task_id == "leaver":
            raise StopWorker
        await asyncio.sleep(0.05)
        return b"done"

    store.add_instance("i", [NewTask("stayer"), NewTask("leaver")])
    assert PooledWorker(store, leave, concurrency=2).run().reason == "stopped"
    assert store.get_task("i", "leaver").attempts == 0
    stayer = store.get_task("i", "stayer")
    assert stayer.output == b"done" or stayer.attempts == 0
