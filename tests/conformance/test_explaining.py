"""Explanations of tasks: why a task does not run, which worker holds the task, how the task ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sqlite_claims import NewTask, NotFoundError
from sqlite_claims.testing import ManualClock


def _explained(store: Any, task_id: str = "t") -> str:
    sentence = store.explain_task("i", task_id)
    assert isinstance(sentence, str)
    assert "\n" not in sentence
    assert repr(task_id) in sentence
    return sentence


def test_a_blocked_tasks_explanation_names_what_it_waits_for(store: Any) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b"), NewTask("t", depends_on=["a", "b"])])
    store.complete_task(store.claim_task("i", "a", "w", 30))
    assert "blocked" in _explained(store)
    assert "'b'" in _explained(store)
    assert "'a'" not in _explained(store)


def test_a_scheduled_tasks_explanation_tells_when_it_is_due(store: Any, clock: ManualClock) -> None:
    day = datetime.fromtimestamp(clock.wall_us() / 1e6 + 20, UTC)
    store.add_instance("i", [NewTask("t", delay=20), NewTask("u", available_at=day), NewTask("failed")])
    store.fail_task(store.claim_task("i", "failed", "w", 30), "no", retry_in=20)
    for name in ("t", "u", "failed"):
        assert "20 s" in _explained(store, name)
        assert f"{day:%Y-%m-%d %H:%M:%S} UTC" in _explained(store, name)
    assert "1 failure" in _explained(store, "failed")


def test_a_claimed_tasks_explanation_tells_who_holds_it_and_until_when(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("endless"), NewTask("last", max_lost=1)])
    until = datetime.fromtimestamp(store.claim_task("i", "t", "holder", 30).expires_at, UTC)
    store.claim_task("i", "endless", "holder", None)
    store.claim_task("i", "last", "holder", 30)
    assert "'holder'" in _explained(store)
    assert f"{until:%Y-%m-%d %H:%M:%S} UTC" in _explained(store)
    assert "does not expire" in _explained(store, "endless")
    clock.advance(30)
    assert "expired" in _explained(store)
    assert "max_lost" in _explained(store, "last")


def test_a_dead_workers_task_is_explained_by_its_death(bench: Any) -> None:
    store = bench.store
    store.add_instance("i", [NewTask("t"), NewTask("last", max_lost=1)])
    session = store.open_session("holder")
    for name in ("t", "last"):
        assert store.claim_task("i", name, "holder", None, session=session)
        assert "process" not in _explained(store, name)
    bench.kill(session)
    for word in ("'holder'", "whose process has ended", "ready again"):
        assert word in _explained(store)
    assert "max_lost is 1" in _explained(store, "last")
    store.pause_instance("i")
    assert "paused" in _explained(store)
    assert store.find_available_tasks("w", 5) == []
    assert "ready" in _explained(store)
    assert "lost 1 claims; max_lost is 1" in _explained(store, "last")


def test_an_explanation_of_what_waits_for_many_names_some_and_counts_the_others(store: Any) -> None:
    names = [f"n{n}" for n in range(8)]
    store.add_instance("i", [*map(NewTask, names), NewTask("t", depends_on=names)])
    assert "'n0', 'n1', 'n2', 'n3', 'n4' and 3 more" in _explained(store)


def test_a_task_that_was_cancelled_before_its_instance_was_is_explained_by_what_it_depends_on(
    store: Any, clock: ManualClock
) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("after", depends_on=["t"]), NewTask("open")])
    store.fail_task(store.claim_task("i", "t", "w", 30), "broke", retry=False)
    clock.advance(1)
    store.cancel_instance("i", "not needed")
    assert "depends on 't'" in _explained(store, "after")
    assert "not needed" not in _explained(store, "after")
    assert "with its instance: not needed" in _explained(store, "open")


def test_an_ended_tasks_explanation_tells_when_and_how_it_ended(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("failed"), NewTask("after", depends_on=["failed"])])
    store.complete_task(store.claim_task("i", "t", "w", 30))
    store.fail_task(store.claim_task("i", "failed", "w", 30), "broke", retry=False)
    at = f"at {datetime.fromtimestamp(clock.wall_us() / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"
    assert _explained(store).endswith(f" was completed {at}.")
    assert _explained(store, "failed").endswith(
        f" failed {at}, after 1 failure and 0 lost claims, and runs again only if it is retried: broke"
    )
    assert f" was cancelled {at} because " in _explained(store, "after")


def test_a_task_that_was_snoozed_or_lost_is_explained_like_any_other(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("lost")])
    store.release_task(store.claim_task("i", "t", "w", 30), delay=7)
    store.claim_task("i", "lost", "w", 2)
    clock.advance(5)
    assert "is scheduled: it becomes ready in 2 s" in _explained(store)
    assert "expired: another worker may take it over" in _explained(store, "lost")
    store.release_task_claim("i", "lost", "w")
    assert "ready" in _explained(store, "lost")


def test_a_ready_tasks_explanation_names_the_kind_and_the_tags_that_a_worker_needs(store: Any) -> None:
    store.add_instance("i", [NewTask("t", kind="render", tags=["gpu", "eu"])])
    for word in ("ready", "'render'", "'eu'", "'gpu'", "no worker session"):
        assert word in _explained(store)
    with store.open_session("w"):
        assert "1 worker session" in _explained(store)


def test_an_explanation_says_that_the_instance_is_paused(store: Any, clock: ManualClock) -> None:
    store.add_instance(
        "i", [NewTask("t"), NewTask("later", delay=5), NewTask("held"), NewTask("after", depends_on=["t"])]
    )
    store.claim_task("i", "held", "w", 5)
    store.pause_instance("i")
    for name in ("t", "later", "after"):
        assert "paused" in _explained(store, name)
    clock.advance(5)
    assert "paused" in _explained(store, "held")


def test_an_ended_tasks_explanation_tells_how_it_ended(store: Any) -> None:
    store.add_instance("i", [NewTask("done"), NewTask("t"), NewTask("after", depends_on=["t"]), NewTask("open")])
    store.complete_task(store.claim_task("i", "done", "w", 30))
    store.fail_task(store.claim_task("i", "t", "w", 30), "broke", retry=False)
    assert "completed" in _explained(store, "done")
    assert "broke" in _explained(store)
    assert "'t'" in _explained(store, "after")
    store.cancel_instance("i", "not needed")
    assert "not needed" in _explained(store, "open")
    assert "cancelled" in _explained(store, "open")


@pytest.mark.parametrize("unknown", [("i", "nothing"), ("nowhere", "t")])
def test_a_missing_task_has_no_explanation(store: Any, unknown: tuple[str, str]) -> None:
    store.add_instance("i", [NewTask("t")])
    with pytest.raises(NotFoundError):
        store.explain_task(*unknown)
