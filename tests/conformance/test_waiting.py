"""The methods that wait for tasks or for the end of an instance."""

# ruff: noqa: ARG001 - the cases of a table take the same arguments, needed or not
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from sqlite_claims import InstanceState, NewTask
from sqlite_claims.testing import ManualClock


@contextmanager
def _meanwhile(act: Callable[[], Any]) -> Iterator[None]:
    """Run ``act`` in another thread. Meanwhile, the code in the ``with`` block waits for the effect of ``act``."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_waiting_ends_at_once_where_a_task_can_be_claimed_already(store: Any) -> None:
    store.add_instance("i", [NewTask("t", kind="x", tags=["a"])])
    assert store.wait_for_tasks(3600) is True
    assert store.wait_for_tasks(3600, tags=["a"], kinds=["x"]) is True
    assert store.get_task("i", "t").attempts == 0


def test_waiting_ends_at_the_timeout_where_nothing_that_fits_can_be_claimed(store: Any) -> None:
    assert store.wait_for_tasks(0) is False
    store.add_instance("i", [NewTask("t", kind="x", tags=["a"]), NewTask("later", delay=60)])
    unfit: list[dict[str, list[str]]] = [{"kinds": ["y"]}, {"tags": ["b"]}, {"kinds": []}, {"kinds": [""]}]
    for wanted in unfit:
        assert store.wait_for_tasks(0.01, **wanted) is False
    store.claim_task("i", "t", "w", 60)
    assert store.wait_for_tasks(0.01) is False


def _add(store: Any, clock: ManualClock) -> None:
    store.add_tasks("i", [NewTask("new")])


def _unblock(store: Any, clock: ManualClock) -> None:
    (claim,) = store.list_claims("w")
    store.complete_task(claim)


def _give_back(store: Any, clock: ManualClock) -> None:
    store.release_task_claim("i", "held", "w")


def _let_time_pass(store: Any, clock: ManualClock) -> None:
    clock.advance(3600)


def _resume(store: Any, clock: ManualClock) -> None:
    store.resume_instance("paused")


@pytest.mark.parametrize("happen", [_add, _unblock, _give_back, _let_time_pass, _resume])
def test_waiting_ends_when_a_task_can_be_claimed(
    bench: Any, clock: ManualClock, happen: Callable[[Any, ManualClock], None]
) -> None:
    store = bench.store
    store.add_instance("i", [NewTask("held"), NewTask("later", delay=3600), NewTask("next", depends_on=["held"])])
    store.claim_task("i", "held", "w", 7200)
    store.add_instance("paused", [NewTask("t")])
    store.pause_instance("paused")
    assert store.wait_for_tasks(0) is False
    other = bench.open()
    with _meanwhile(lambda: happen(other, clock)):
        assert store.wait_for_tasks(60) is True
    if other is not store:
        other.close()


def test_waiting_ends_when_a_claim_expires(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    store.claim_task("i", "t", "w", 3600)
    with _meanwhile(lambda: clock.advance(3600)):
        assert store.wait_for_tasks(60) is True


def test_waiting_ends_when_a_time_of_day_comes(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t", available_at=datetime.fromtimestamp(clock.wall_us() / 1e6 + 3600, UTC))])
    with _meanwhile(lambda: clock.advance(3600)):
        assert store.wait_for_tasks(60) is True


def test_waiting_for_an_instance_gives_it_when_it_has_ended(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", None)
    assert store.wait_for_instance("i", 0) is None
    store.pause_instance("i")
    assert store.wait_for_instance("i", 0.01) is None
    with _meanwhile(lambda: store.complete_task(claim)):
        ended = store.wait_for_instance("i", 60)
    assert ended.state is InstanceState.COMPLETED
    assert ended == store.get_instance("i")
    assert store.wait_for_instance("i", 0) == ended


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_failed_or_cancelled_instance_has_ended_too(store: Any, cancelled: bool) -> None:
    store.add_instance("i", [NewTask("t")])
    if cancelled:
        store.cancel_instance("i", "why not")
    else:
        store.fail_task(store.claim_task("i", "t", "w", 30), "no", retry=False)
    assert store.wait_for_instance("i", 3600) == store.get_instance("i")
