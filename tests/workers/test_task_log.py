"""The log records of workers about the attempts that they make."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sqlite_claims import NewTask, RetryPolicy, StoreBusyError, TaskState
from sqlite_claims.workers import CheckpointingRunner, FailTask, PooledWorker, SnoozeTask, TaskContext

TASKS = "sqlite_claims.tasks"
AT_ONCE = RetryPolicy(initial_delay=0)


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.fixture(params=["worker", "runner"])
def run(request: pytest.FixtureRequest, store: Any) -> Callable[..., Any]:
    """Run a handler on the tasks of an instance."""

    def go(handler: Any, *tasks: NewTask) -> None:
        store.add_instance("i", tasks or [NewTask("t", kind="k", max_attempts=1)])
        if request.param == "worker":
            PooledWorker(store, handler, worker_id="me").run(until_idle=True)
        else:
            CheckpointingRunner(store, handler, worker_id="me").run("i")

    return go


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == TASKS]


def fail(_: TaskContext) -> bytes:
    raise ValueError("card service down")


def test_start_and_completion_are_logged_with_all_that_names_the_attempt(
    run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    run(lambda _: b"done")
    start, end = (record for record in caplog.records if record.name == TASKS)
    assert [record.levelno for record in (start, end)] == [logging.INFO, logging.INFO]
    assert start.getMessage() == "task 't' of instance 'i' started, attempt 1"
    assert end.getMessage().startswith("task 't' of instance 'i' completed in 0.")
    for record in (start, end):
        shown = {name: getattr(record, name) for name in ("instance_id", "task_id", "kind", "attempt", "worker_id")}
        assert shown == {"instance_id": "i", "task_id": "t", "kind": "k", "attempt": 1, "worker_id": "me"}
    assert vars(start)["seconds"] == 0.0
    assert 0.0 < vars(end)["seconds"] < 60.0


def test_a_failure_that_is_to_be_retried_is_a_warning_with_how_often_when_and_the_traceback(
    run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    run(fail, NewTask("t", max_attempts=2, retry=RetryPolicy(initial_delay=0.02)))
    warning, error = (record for record in caplog.records if record.name == TASKS and record.levelno > logging.INFO)
    assert warning.levelno == logging.WARNING
    assert warning.getMessage() == (
        "task 't' of instance 'i' failed, 1 of 2 attempts, will be retried in about 0.02 s: "
        "ValueError: card service down"
    )
    assert error.levelno == logging.ERROR
    assert error.getMessage() == (
        "task 't' of instance 'i' failed permanently, 2 of 2 attempts: ValueError: card service down"
    )
    for attempt, record in enumerate((warning, error), 1):
        assert vars(record)["attempt"] == attempt
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ValueError)
        shown = logging.Formatter().format(record)
        assert shown.count("ValueError: card service down") == 2  # once in the message, once in the traceback
        assert "in fail\n" in shown


def test_a_task_that_its_handler_fails_for_good_is_logged_as_an_error_with_that_text(
    run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: TaskContext) -> None:
        raise FailTask("no such order\nin the books")

    run(refuse, NewTask("t"))
    assert told(caplog)[1:] == [
        ("ERROR", "task 't' of instance 'i' failed permanently: no such order\nin the books"),
    ]


def test_a_snoozed_task_is_logged_below_warnings(run: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def later(_: TaskContext) -> None:
        seen.append(1)
        if len(seen) == 1:
            raise SnoozeTask(0.02)

    run(later, NewTask("t"))
    assert told(caplog)[1] == ("INFO", "task 't' of instance 'i' released, available again in 0.02 s")
    assert all(level == "INFO" for level, _ in told(caplog))


def test_a_claim_that_is_lost_is_one_warning(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    def cancel(task: TaskContext) -> None:
        store.cancel_instance(task.instance_id)
        assert task.cancelled.wait(30)

    store.add_instance("i", [NewTask("t")])
    PooledWorker(store, cancel, poll_interval=0.02).run(until_idle=True)
    ((level, message),) = [line for line in told(caplog) if line[0] != "INFO"]
    assert level == "WARNING"
    assert message.startswith("task 't' of instance 'i' lost: ")


@pytest.mark.parametrize("result", ["completes", "fails", "fails for good", "snoozes"])
def test_a_claim_that_was_lost_before_its_result_came_is_one_warning(
    run: Callable[..., Any], store: Any, caplog: pytest.LogCaptureFixture, result: str
) -> None:
    def cancel(task: TaskContext) -> None:
        store.cancel_instance(task.instance_id)
        if result == "fails":
            raise ValueError
        if result == "fails for good":
            raise FailTask("no")
        if result == "snoozes":
            raise SnoozeTask(1)

    run(cancel)
    ((level, message),) = [line for line in told(caplog) if line[0] != "INFO"]
    assert level == "WARNING"
    assert message.startswith("task 't' of instance 'i' lost: ")


def test_a_task_that_timed_out_is_logged_as_a_failure(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    def wait(task: TaskContext) -> None:
        assert task.cancelled.wait(30)

    store.add_instance("i", [NewTask("t", max_attempts=1)])
    PooledWorker(store, wait, task_timeout=0.05).run(until_idle=True)
    ((level, message),) = [line for line in told(caplog) if line[0] != "INFO"]
    assert (level, message) == (
        "ERROR",
        "task 't' of instance 'i' failed permanently, 1 of 1 attempts: timed out after 0.05 s",
    )
    (record,) = [record for record in caplog.records if record.name == TASKS and record.levelno > logging.INFO]
    assert vars(record)["seconds"] >= 0.05


def test_a_task_that_its_handler_completed_itself_is_logged_as_completed(
    run: Callable[..., Any], store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run(lambda task: store.complete_task(task.claim, b"own"))
    assert [level for level, _ in told(caplog)] == ["INFO", "INFO"]
    assert "completed in" in told(caplog)[1][1]


class Raises(logging.Handler):
    """A log handler that raises an error for every record."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError(f"can't log {record.name}")


@pytest.fixture
def raising() -> Iterator[logging.Handler]:
    handler = Raises()
    logging.getLogger("sqlite_claims").addHandler(handler)
    yield handler
    logging.getLogger("sqlite_claims").removeHandler(handler)


@pytest.mark.usefixtures("raising")
def test_a_log_handler_that_raises_costs_no_task_anything_and_is_shown(
    run: Callable[..., Any], store: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    def now_and_then(task: TaskContext) -> None:
        if task.task_id == "b":
            raise FailTask("no")

    run(now_and_then, NewTask("a"), NewTask("b"), NewTask("c"))
    tasks = {task.task_id: (task.state, task.attempts, task.error) for task in store.list_tasks("i")}
    assert tasks == {
        "a": (TaskState.COMPLETED, 1, None),
        "b": (TaskState.FAILED, 1, "no"),
        "c": (TaskState.COMPLETED, 1, None),
    }
    assert "can't log sqlite_claims.tasks" in capfd.readouterr().err


@pytest.mark.usefixtures("raising")
def test_the_workers_own_warnings_end_no_run_where_logging_raises(store: Any, spy: Any) -> None:
    refusals = iter([StoreBusyError("busy"), None])

    def complete(method: Any, results: Any) -> Any:
        if error := next(refusals):
            raise error
        return method(results)

    store.add_instance("i", [NewTask("t")])
    summary = PooledWorker(spy(store, complete_tasks=complete), lambda _: None).run(until_idle=True)
    assert (summary.reason, summary.completed) == ("idle", 1)


@pytest.mark.parametrize("level", [logging.WARNING, logging.CRITICAL])
def test_records_that_no_logger_wants_are_neither_made_nor_read_for(
    store: Any, spy: Any, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    reads: list[str] = []

    def get_task(method: Any, instance_id: str, task_id: str) -> Any:
        reads.append(task_id)
        return method(instance_id, task_id)

    def by_name(task: TaskContext) -> None:
        if task.task_id == "bad":
            raise ValueError

    caplog.set_level(level, TASKS)
    store.add_instance("i", [NewTask("good"), NewTask("bad", max_attempts=1)])
    PooledWorker(spy(store, get_task=get_task), by_name).run(until_idle=True)
    assert (reads.count("bad") > 0, len(told(caplog))) == ((True, 1) if level == logging.WARNING else (False, 0))
    assert "good" not in reads


def test_the_library_installs_no_log_handler_and_python_shows_failures_on_standard_error() -> None:
    program = """
import logging
from sqlite_claims import InMemoryClaimStore, NewTask
from sqlite_claims.workers import PooledWorker, WorkerPool

def fail(task):
    raise ValueError("card service down")

with InMemoryClaimStore() as store:
    store.add_instance("i", [NewTask("t", max_attempts=1)])
    PooledWorker(store, fail).run(until_idle=True)
assert not any(logging.getLogger(name).handlers for name in (None, "sqlite_claims", "sqlite_claims.tasks"))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr.startswith("task 't' of instance 'i' failed permanently, 1 of 1 attempts: ValueError: card")
    assert "Traceback (most recent call last):" in ended.stderr
