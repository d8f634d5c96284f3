"""Whether there is open work, at a bearable cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlite_claims import NewTask
from sqlite_claims.workers.idle import OpenWork


def test_open_work_is_what_is_ready_scheduled_or_held_of_these_kinds_and_tags(store: Any) -> None:
    store.add_instance("i", [NewTask("ready", kind="a"), NewTask("later", kind="b", delay=60, tags=["x"])])
    store.add_instance("j", [NewTask("held", kind="c"), NewTask("blocked", kind="d", depends_on=["held"])])
    store.claim_task("j", "held", "someone", 60)
    expected = {"a": True, "b": True, "c": True, "d": False, "": False}
    assert {kind: OpenWork(store, None, {kind}).exists() for kind in expected} == expected
    assert not OpenWork(store, ["y"], {"b"}).exists()
    assert OpenWork(store, ["x", "y"], {"b"}).exists()


def test_what_is_paused_or_has_ended_is_not_open(store: Any) -> None:
    store.add_instance("i", [NewTask("a")])
    store.add_instance("j", [NewTask("b"), NewTask("c")])
    store.claim_task("j", "b", "someone", 60)
    store.pause_instance("j")
    assert OpenWork(store, None, None).exists()
    store.cancel_instance("i")
    assert not OpenWork(store, None, None).exists()


def test_while_one_task_is_known_to_be_open_nothing_is_looked_through(store: Any, spy: Any) -> None:
    looks = []

    def look(really: Callable[..., Any], *args: Any, **options: Any) -> Any:
        looks.append(options)
        return really(*args, **options)

    store.add_instance("i", [NewTask("later", delay=60)])
    work = OpenWork(spy(store, list_tasks=look), None, None)
    assert all(work.exists() for _ in range(10))
    assert len(looks) == 1


def test_a_store_in_which_nothing_is_open_is_not_looked_through(store: Any, spy: Any) -> None:
    store.add_instance("i", [NewTask("a")])
    store.complete_task(store.claim_task("i", "a", "someone", 60))
    assert not OpenWork(spy(store, list_tasks=None), None, None).exists()


def test_what_moves_while_it_is_looked_through_is_not_overlooked(store: Any, spy: Any) -> None:
    """The list is read in pages: a task can be claimed and another be done in between."""

    def look(*_: Any, **__: Any) -> Any:
        store.complete_task(claim)
        return iter(())

    store.add_instance("i", [NewTask("a", kind="mine"), NewTask("b", kind="theirs")])
    claim = store.claim_task("i", "b", "someone", 60)
    assert OpenWork(spy(store, list_tasks=look), None, {"mine"}).exists()
