"""``IdleDetector`` finds open tasks, and reads the list of tasks only if necessary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlite_claims import NewTask
from sqlite_claims.workers.idle import IdleDetector


def test_a_worker_is_not_idle_while_a_task_of_its_kinds_and_tags_is_ready_scheduled_or_claimed(store: Any) -> None:
    store.add_instance("i", [NewTask("ready", kind="a"), NewTask("later", kind="b", delay=60, tags=["x"])])
    store.add_instance("j", [NewTask("held", kind="c"), NewTask("blocked", kind="d", depends_on=["held"])])
    store.claim_task("j", "held", "someone", 60)
    expected = {"a": False, "b": False, "c": False, "d": True, "": True}
    assert {kind: IdleDetector(store, tags=None, kinds={kind}).is_idle() for kind in expected} == expected
    assert IdleDetector(store, tags=["y"], kinds={"b"}).is_idle()
    assert not IdleDetector(store, tags=["x", "y"], kinds={"b"}).is_idle()


def test_tasks_of_paused_and_ended_instances_are_not_open(store: Any) -> None:
    store.add_instance("i", [NewTask("a")])
    store.add_instance("j", [NewTask("b"), NewTask("c")])
    store.claim_task("j", "b", "someone", 60)
    store.pause_instance("j")
    assert not IdleDetector(store, tags=None, kinds=None).is_idle()
    store.cancel_instance("i")
    assert IdleDetector(store, tags=None, kinds=None).is_idle()


def test_tasks_are_listed_once_while_the_open_task_that_was_found_stays_open(store: Any, spy: Any) -> None:
    listings = []

    def count_listing(list_tasks: Callable[..., Any], *args: Any, **options: Any) -> Any:
        listings.append(options)
        return list_tasks(*args, **options)

    store.add_instance("i", [NewTask("later", delay=60)])
    detector = IdleDetector(spy(store, list_tasks=count_listing), tags=None, kinds=None)
    assert not any(detector.is_idle() for _ in range(10))
    assert len(listings) == 1


def test_tasks_are_not_listed_where_the_counts_show_that_none_is_open(store: Any, spy: Any) -> None:
    store.add_instance("i", [NewTask("a")])
    store.complete_task(store.claim_task("i", "a", "someone", 60))
    assert IdleDetector(spy(store, list_tasks=None), tags=None, kinds=None).is_idle()


def test_a_worker_is_not_idle_if_a_task_changed_while_tasks_were_listed(store: Any, spy: Any) -> None:
    """The list is read in pages. Between two pages, one task can be claimed and another one completed."""

    def complete_and_list_nothing(*_: Any, **__: Any) -> Any:
        store.complete_task(claim)
        return iter(())

    store.add_instance("i", [NewTask("a", kind="mine"), NewTask("b", kind="theirs")])
    claim = store.claim_task("i", "b", "someone", 60)
    spied = spy(store, list_tasks=complete_and_list_nothing)
    assert not IdleDetector(spied, tags=None, kinds={"mine"}).is_idle()
