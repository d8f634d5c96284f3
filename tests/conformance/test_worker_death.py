"""A worker's session: all claims of a session end with the session, even if their leases have not ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import ClaimLostError, InstanceState, InvalidArgumentError, NewTask, TaskState
from sqlite_claims.testing import ManualClock

Offered = Callable[..., list[str]]


def add(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])


def _by_find(store: Any) -> None:
    assert store.find_available_tasks("v", 5) == []


def _by_claiming_what_is_available(store: Any) -> None:
    assert store.claim_available_tasks("v", 5) == []


def _by_name(store: Any) -> None:
    assert store.claim_task("i", "t", "v", 5) is None


look_in_any_way = pytest.mark.parametrize("look", [_by_find, _by_claiming_what_is_available, _by_name])


def test_a_dead_workers_claims_are_losses_at_once_whatever_their_time(
    bench: Any, store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u"), NewTask("free")])
    session = store.open_session("w")
    claims = [claimed.claim for claimed in store.claim_available_tasks("w", 2, None, session=session)]
    unbound = store.claim_task("i", "free", "w", None)
    assert offered() == []
    clock.advance(7)
    bench.kill(session)
    assert offered() == ["t", "u"]
    for name in ("t", "u"):
        task = store.get_task("i", name)
        assert (task.state, task.losses, task.attempts, task.worker_id) == (TaskState.READY, 1, 1, "w")
        assert task.claim is None
    for lost in claims:
        with pytest.raises(ClaimLostError):
            store.complete_task(lost)
    store.complete_task(unbound)


def test_a_dead_workers_task_has_its_place_at_that_moment(
    bench: Any, store: Any, clock: ManualClock, offered: Offered
) -> None:
    store.add_instance("i", [NewTask("t")])
    session = store.open_session("w")
    store.claim_task("i", "t", "w", None, session=session)
    clock.advance(1)
    store.add_tasks("i", [NewTask("earlier")])
    clock.advance(1)
    bench.kill(session)
    assert offered() == ["earlier", "t"]
    clock.advance(1)
    store.add_tasks("i", [NewTask("later")])
    assert offered() == ["earlier", "t", "later"]


def test_claiming_a_dead_workers_task_by_name_finds_out_at_once(bench: Any, store: Any) -> None:
    add(store)
    session = store.open_session("w")
    first = store.claim_task("i", "t", "w", 600, session=session)
    assert store.claim_task("i", "t", "v", 30) is None
    bench.kill(session)
    second = store.claim_task("i", "t", "v", 30)
    assert second.token > first.token
    task = store.get_task("i", "t")
    assert (task.losses, task.attempts, task.worker_id) == (1, 2, "v")


@look_in_any_way
@pytest.mark.parametrize("paused", [False, True])
def test_a_dead_workers_last_claim_fails_the_task_also_in_a_paused_instance(
    bench: Any, store: Any, look: Callable[[Any], None], paused: bool
) -> None:
    store.add_instance("i", [NewTask("t", max_lost=1), NewTask("u", depends_on=["t"])])
    session = store.open_session("w")
    store.claim_task("i", "t", "w", None, session=session)
    if paused:
        store.pause_instance("i")
    bench.kill(session)
    look(store)
    task = store.get_task("i", "t")
    assert (task.state, task.error) == (TaskState.FAILED, "lost 1 claims; max_lost is 1")
    assert store.get_task("i", "u").state is TaskState.CANCELLED
    assert store.get_instance("i").state is InstanceState.FAILED


def test_a_dead_workers_task_in_a_paused_instance_is_a_loss_and_waits_for_the_resume(
    bench: Any, store: Any, offered: Offered
) -> None:
    add(store)
    session = store.open_session("w")
    store.claim_task("i", "t", "w", 30, session=session)
    store.pause_instance("i")
    bench.kill(session)
    assert offered() == []
    task = store.get_task("i", "t")
    assert (task.state, task.losses) == (TaskState.READY, 1)
    store.resume_instance("i")
    assert offered() == ["t"]


def test_until_somebody_looks_a_dead_workers_claim_counts(bench: Any, store: Any) -> None:
    add(store)
    session = store.open_session("w")
    bound = store.claim_task("i", "t", "w", 30, session=session)
    bench.kill(session)
    store.complete_task(bound)
    store.find_available_tasks("v", 5)
    task = store.get_task("i", "t")
    assert (task.state, task.losses) == (TaskState.COMPLETED, 0)


def test_a_task_settled_before_the_worker_ended_is_no_loss(store: Any, offered: Offered) -> None:
    add(store)
    with store.open_session("w") as session:
        store.release_task(store.claim_task("i", "t", "w", 30, session=session))
    assert offered() == ["t"]
    task = store.get_task("i", "t")
    assert (task.losses, task.attempts) == (0, 0)


def test_a_task_that_another_took_over_is_not_lost_with_its_former_worker(
    bench: Any, store: Any, clock: ManualClock, offered: Offered
) -> None:
    add(store)
    session = store.open_session("old")
    store.claim_task("i", "t", "old", 5, session=session)
    clock.advance(5)
    claimed = store.claim_task("i", "t", "new", 30)
    bench.kill(session)
    assert offered() == []
    assert store.get_task("i", "t").claim == claimed


def test_one_workers_death_is_not_anothers(bench: Any, store: Any, offered: Offered) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b")])
    one, two = store.open_session("w"), store.open_session("w")
    store.claim_task("i", "a", "w", 30, session=one)
    store.claim_task("i", "b", "w", 30, session=two)
    bench.kill(one)
    assert offered() == ["a"]
    bench.kill(two)
    assert offered() == ["a", "b"]


def test_a_session_that_is_closed_loses_what_it_still_holds(store: Any) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u", max_lost=1)])
    with store.open_session("w") as session:
        claims = [claimed.claim for claimed in store.claim_available_tasks("w", 2, None, session=session)]
    assert [store.get_task("i", name).state for name in "tu"] == [TaskState.READY, TaskState.FAILED]
    assert store.complete_tasks([(lost, b"") for lost in claims]) == ([], claims)


def test_a_session_that_is_over_claims_nothing_more(store: Any) -> None:
    add(store)
    session = store.open_session("w")
    session.close()
    session.close()
    with pytest.raises(InvalidArgumentError, match="session"):
        store.claim_task("i", "t", "w", 30, session=session)
    with pytest.raises(InvalidArgumentError, match="session"):
        store.claim_available_tasks("w", 1, 30, session=session)
    assert store.get_task("i", "t").attempts == 0


def test_known_workers_are_listed_with_their_claims(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("a"), NewTask("b")])
    assert list(store.list_workers()) == []
    session, idle = store.open_session("w"), store.open_session("idle")
    store.claim_available_tasks("w", 2, 30, session=session)
    started = clock.wall_us() / 1e6
    found = {worker.worker_id: worker for worker in store.list_workers()}
    assert (found["w"].claims, found["w"].alive) == (2, True)
    assert (found["idle"].claims, found["idle"].alive) == (0, True)
    assert found["w"].started_at.timestamp() == started
    idle.close()
    assert [worker.worker_id for worker in store.list_workers() if worker.alive] == ["w"]
    session.close()
    assert [worker.worker_id for worker in store.list_workers() if worker.alive] == []


@pytest.mark.parametrize("claiming", [False, True])
def test_whatever_a_dead_worker_held_is_there_for_the_next_who_looks(bench: Any, claiming: bool) -> None:
    store = bench.store
    store.add_instance("i", [NewTask(f"t{n}") for n in range(2500)])
    session = store.open_session("w")
    assert len(store.claim_available_tasks("w", 2500, None, session=session)) == 2500
    bench.kill(session)
    if claiming:
        assert len(store.claim_available_tasks("v", 3000)) == 2500
    else:
        assert len(store.find_available_tasks("v", 3000)) == 2500
    assert store.check() == []
