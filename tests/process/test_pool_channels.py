"""Messages from worker processes to their supervisor: log records on one channel, control messages on a second
channel."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from sqlite_claims import NewTask, TaskState
from sqlite_claims.workers import WorkerPool

from .pool_runs import PATIENCE, Pools, eventually, is_gone, pools

__all__ = ["pools"]

LINE_BYTES_MAX = 65_536


def messages(caplog: pytest.LogCaptureFixture, name: str = "pool_handlers.log") -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == name]


def run(pools: Pools, **options: object) -> None:
    WorkerPool(pools.path, "pool_handlers:registry", processes=1, **options).run(until_idle=True)  # type: ignore[arg-type]


def test_lines_that_forks_of_a_process_log_at_the_same_time_come_whole(
    pools: Pools, caplog: pytest.LogCaptureFixture
) -> None:
    pools.add("forked loggers", "quick")
    run(pools)
    found = Counter((line[:1], line.count(line[:1]), len(line)) for line in messages(caplog))
    assert found == {(str(number), 30_000, 30_000): 20 for number in range(4)}
    assert pools.store.get_instance("i").counts[TaskState.COMPLETED] == 2


def test_a_line_is_cut_by_its_process_and_says_so(pools: Pools, caplog: pytest.LogCaptureFixture) -> None:
    sizes = (60_000, 32 << 20)
    pools.store.add_instance("i", [NewTask(str(size), b"%d" % size, kind="log at length") for size in sizes])
    run(pools)
    whole, cut = messages(caplog)
    assert whole.count("x") == len(whole) - len("begin ") == 60_000
    assert 30_000 < len(cut) <= LINE_BYTES_MAX
    assert (cut[:9], cut[-21:]) == ("begin xxx", " characters were cut]")


def test_attributes_of_the_programs_own_records_pass_where_they_are_json(
    pools: Pools, caplog: pytest.LogCaptureFixture
) -> None:
    pools.add("log with names")
    run(pools)
    (record,) = [record for record in caplog.records if record.name == "pool_handlers.log"]
    assert (vars(record)["order"], vars(record)["parts"]) == (42, ["a", {"b": None}])
    assert not hasattr(record, "not_json")
    assert not hasattr(record, "too_long")


def test_the_starts_and_completions_in_processes_are_logged_with_their_names(
    pools: Pools, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pools.add("quick")
    run(pools, worker_id="me")
    start, end = (record for record in caplog.records if record.name == "sqlite_claims.tasks")
    assert start.getMessage() == "task '0' of instance 'i' started, attempt 1"
    assert end.getMessage().startswith("task '0' of instance 'i' completed in ")
    for record in (start, end):
        shown = {name: getattr(record, name) for name in ("instance_id", "task_id", "kind", "attempt")}
        assert shown == {"instance_id": "i", "task_id": "0", "kind": "quick", "attempt": 1}
        assert vars(record)["worker_id"] == record.processName
        assert vars(record)["worker_id"].startswith("me-")
    assert vars(start)["seconds"] == 0.0
    assert 0 < vars(end)["seconds"] < 60


def test_a_failure_in_a_process_is_logged_with_its_traceback(pools: Pools, caplog: pytest.LogCaptureFixture) -> None:
    pools.add("raise", max_attempts=1)
    run(pools)
    (record,) = [record for record in caplog.records if record.name == "sqlite_claims.tasks"]
    assert record.levelno == logging.ERROR
    assert "in raise_error\n" in (record.exc_text or "")
    assert record.getMessage().endswith("failed permanently, 1 of 1 attempts: ValueError: no good")


def test_unreadable_messages_end_no_pool_and_are_dropped_with_a_warning(
    pools: Pools, caplog: pytest.LogCaptureFixture
) -> None:
    pools.add("garble", "quick", "garble", "log")
    run(pools)
    assert pools.store.get_instance("i").counts[TaskState.COMPLETED] == 4
    assert pools.task().output == b"2"  # two of the tasks wrote bytes to both channels
    warnings = [line for line in messages(caplog, "sqlite_claims.workers") if "unreadable lines" in line]
    assert 1 <= len(warnings) <= 2  # one at once, and one at the end for lines dropped later
    assert len(messages(caplog)) == 1  # valid messages still arrive


class Stuck(logging.Handler):
    """A log handler that does not return until the test releases it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.released = threading.Event()

    def emit(self, _: logging.LogRecord) -> None:
        self.reached.set()
        assert self.released.wait(PATIENCE)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    handler = Stuck()
    logger = logging.getLogger("pool_handlers.log")
    logger.addHandler(handler)
    yield handler
    handler.released.set()
    logger.removeHandler(handler)


@pytest.mark.slow
def test_a_log_handler_that_is_stuck_slows_who_logs_and_never_the_supervisor(pools: Pools, stuck: Stuck) -> None:
    pools.add("flood", max_attempts=1)
    pool = WorkerPool(pools.path, "pool_handlers:registry", processes=1, task_timeout=1)
    with pool.spawn(until_idle=True) as handle:
        _, pid = pools.hear()
        assert stuck.reached.wait(PATIENCE)
        eventually(lambda: pools.task().state is TaskState.FAILED)
        assert pools.task().error == "timed out after 1 s"
        eventually(lambda: is_gone(pid))
        assert not stuck.released.is_set()
        stuck.released.set()
        assert handle.join().failed == 1


@pytest.mark.slow
def test_commands_in_sessions_of_their_own_are_killed_with_the_task_that_waits_for_them(pools: Pools) -> None:
    pools.add("own session", max_attempts=1)
    run(pools, task_timeout=2)
    assert pools.task().error == "timed out after 2 s"
    _, outer = pools.hear()
    _, inner = pools.hear()
    eventually(lambda: is_gone(outer) and is_gone(inner))
