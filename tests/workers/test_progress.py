"""Reports of progress and checkpoints that a handler makes through its context."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, NewTask, RetryPolicy, StoreBusyError, TaskState, current_task
from sqlite_claims.workers import CheckpointingRunner, PooledWorker, TaskContext, progress_reports

AT_ONCE = RetryPolicy(initial_delay=0)


def pooled(store: Any, handlers: Any) -> None:
    PooledWorker(store, handlers).run(until_idle=True)


def in_runner(store: Any, handlers: Any) -> None:
    CheckpointingRunner(store, handlers).run("i")


@pytest.fixture(params=[pooled, in_runner])
def run(request: pytest.FixtureRequest) -> Callable[[Any, Any], None]:
    found: Callable[[Any, Any], None] = request.param
    return found


@pytest.fixture
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the timer run only after the test's end."""
    monkeypatch.setattr(progress_reports, "_INTERVAL_S", 3600.0)


def values(store: Any) -> tuple[object, ...] | None:
    progress = store.get_task("i", "t").progress
    return progress and (progress.done, progress.total, progress.note)


@pytest.mark.usefixtures("no_timer")
def test_the_first_report_is_written_at_once_and_the_last_before_the_task_ends(store: Any, run: Any, spy: Any) -> None:
    seen: list[object] = []
    writes: list[dict[str, object]] = []

    def report(original: Callable[..., None], claim: object, **given: object) -> None:
        writes.append(given)
        original(claim, **given)

    def handler(task: TaskContext) -> None:
        task.progress(1, 100)
        seen.append(values(store))
        for done in range(2, 101):
            task.progress(done, note="going on")
        seen.append(values(store))

    store.add_instance("i", [NewTask("t")])
    run(spy(store, report_progress=report), handler)
    assert seen == [(1, 100, None)] * 2
    assert values(store) == (100, 100, "going on")
    assert writes == [{"done": 1, "total": 100}, {"done": 100, "note": "going on"}]


def test_later_reports_are_written_by_a_timer(
    store: Any, run: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_reports, "_INTERVAL_S", 0.01)

    def handler(task: TaskContext) -> None:
        for done in range(1, 4):
            task.progress(done)
            task.progress(done + 0.5)
            eventually(lambda done=done: values(store) == (done + 0.5, None, None))

    store.add_instance("i", [NewTask("t", max_attempts=1)])
    run(store, handler)
    assert store.get_task("i", "t").state is TaskState.COMPLETED


@pytest.mark.usefixtures("no_timer")
def test_the_checkpoint_goes_to_the_next_attempt(store: Any, run: Any) -> None:
    seen: list[object] = []

    def handler(task: TaskContext) -> None:
        seen.append(task.checkpoint)
        task.progress(checkpoint=b"%d" % task.attempt)
        task.progress(checkpoint=b"%d b" % task.attempt)
        seen.append(task.checkpoint)
        if task.attempt < 3:
            raise ValueError

    store.add_instance("i", [NewTask("t", retry=AT_ONCE)])
    run(store, handler)
    assert seen == [None, b"1 b", b"1 b", b"2 b", b"2 b", b"3 b"]
    assert store.get_task("i", "t").checkpoint is None  # gone with the completion


@pytest.mark.usefixtures("no_timer")
def test_the_last_report_is_written_before_a_running_task_is_released(store: Any, gate: Any) -> None:
    def handler(task: TaskContext) -> None:
        task.progress(1)
        task.progress(2, checkpoint=b"two")
        gate.reached.set()
        assert task.cancelled.wait(30)
        task.progress(3)  # ignored, because the claim is released already

    store.add_instance("i", [NewTask("t")])
    handle = PooledWorker(store, handler).spawn()
    assert gate.reached.wait(30)
    handle.shutdown(0)
    handle.join()
    info = store.get_task("i", "t")
    assert (info.state, info.progress.done, info.checkpoint) == (TaskState.READY, 2, b"two")


@pytest.mark.usefixtures("no_timer")
def test_the_last_report_is_written_before_a_timed_out_task_fails(store: Any) -> None:
    def handler(task: TaskContext) -> None:
        task.progress(1)
        task.progress(2)
        assert task.cancelled.wait(30)

    store.add_instance("i", [NewTask("t", max_attempts=1)])
    PooledWorker(store, handler, task_timeout=0.05).run(until_idle=True)
    info = store.get_task("i", "t")
    assert (info.state, info.progress.done) == (TaskState.FAILED, 2)


def test_a_lost_claim_sets_cancelled(store: Any, run: Any) -> None:
    def handler(task: TaskContext) -> None:
        store.cancel_instance("i")
        assert not task.cancelled.is_set()
        task.progress(1)
        assert task.cancelled.is_set()
        task.progress(2)
        seen.append("no error")

    seen: list[str] = []
    store.add_instance("i", [NewTask("t")])
    run(store, handler)
    assert seen == ["no error"]


@pytest.mark.usefixtures("no_timer")
def test_a_refused_write_is_tried_again_with_the_next_and_logged_once(
    store: Any, run: Any, spy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = 2

    def report(original: Callable[..., None], claim: object, **given: object) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise StoreBusyError("busy")
        original(claim, **given)

    def handler(task: TaskContext) -> None:
        task.progress(1, 10, "first")
        reports = task._reports
        assert reports is not None
        reports._write()  # as the timer would do
        task.progress(2)

    store.add_instance("i", [NewTask("t")])
    run(spy(store, report_progress=report), handler)
    assert values(store) == (2, 10, "first")
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert messages == ["could not store the progress of task 't': busy"]


@pytest.mark.parametrize(
    "arguments", [{"done": -1}, {"total": float("nan")}, {"note": 1}, {"checkpoint": "text"}, {"note": "x" * 2000}]
)
def test_only_bad_arguments_raise(store: Any, run: Any, arguments: dict[str, Any]) -> None:
    def handler(task: TaskContext) -> None:
        task.progress(1)
        for _ in range(2):
            with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
                task.progress(**arguments)
        task.progress()

    store.add_instance("i", [NewTask("t", max_attempts=1)])
    run(store, handler)
    assert store.get_task("i", "t").state is TaskState.COMPLETED
    assert values(store) == (1, None, None)


@pytest.mark.usefixtures("no_timer")
def test_threads_and_coroutines_report_for_their_task(store: Any, run: Any) -> None:
    async def handler(task: TaskContext) -> None:
        threads = [threading.Thread(target=task.progress, kwargs={name: 1}) for name in ("done", "total")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        current_task().progress(note="both")

    store.add_instance("i", [NewTask("t")])
    run(store, handler)
    assert values(store) == (1, 1, "both")


def test_if_no_timer_can_be_started_the_last_report_is_still_written(
    store: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoTimer(threading.Timer):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Timer", NoTimer)

    def handler(task: TaskContext) -> None:
        for done in range(1, 6):
            task.progress(done)

    store.add_instance("i", [NewTask("t", max_attempts=1)])
    run(store, handler)
    assert values(store) == (5, None, None)
