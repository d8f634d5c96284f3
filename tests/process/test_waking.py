"""A sleeping worker is woken only by changes that other processes make: in these tests, a worker polls only once an
hour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sqlite_claims import NewTask, RetryPolicy, SqliteClaimStore
from sqlite_claims.sqlite.scan import core_available

from ..tiers import first_is_fast
from .children import Start

# The two kinds of doorbell: one waits on a futex of the kernel, and one polls, for machines without futexes.
BELLS = ["polling", *(["futex"] if core_available() else [])]
SLEEPER = """
import sqlite_claims.sqlite.operations.claiming as claiming, sqlite_claims.workers.task_source as task_source
from sqlite_claims.workers import PooledWorker
claiming.SHORT_US, task_source._NAP_S_MAX = 3600_000_000, 3600
store = SqliteClaimStore(args[0], use_c_core=False if args[1] == "polling" else None)
wait = store.wait_for_tasks
def wait_for_tasks(timeout, **wanted):
    say("waits")
    return wait(timeout, **wanted)
store.wait_for_tasks = wait_for_tasks
PooledWorker(store, {"k": lambda task: say("runs", task.task_id)}, tags=["a"], poll_interval=3600).spawn()
hear()
"""
LEASE = 0.3


@pytest.fixture(params=BELLS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteClaimStore]:
    use_c_core = False if request.param == "polling" else None
    with SqliteClaimStore(tmp_path / "jobs.db", use_c_core=use_c_core) as store:
        yield store


def added(store: SqliteClaimStore) -> Callable[[], object]:
    return lambda: store.add_instance("i", [NewTask("t", kind="k", tags=["a"])])


def added_in_a_transaction(store: SqliteClaimStore) -> Callable[[], object]:
    def add() -> None:
        with store.transaction() as tx:
            tx.add_instance("i", [NewTask("t", kind="k", tags=["a"])])

    return add


def due(store: SqliteClaimStore) -> Callable[[], object]:
    return lambda: store.add_instance("i", [NewTask("t", kind="k", tags=["a"], delay=0.2)])


def unblocked(store: SqliteClaimStore) -> Callable[[], object]:
    store.add_instance("i", [NewTask("first"), NewTask("t", kind="k", tags=["a"], depends_on=["first"])])
    claim = store.claim_task("i", "first", "me", 60)
    assert claim is not None
    return lambda: store.complete_task(claim)


def held(store: SqliteClaimStore) -> None:
    store.add_instance("i", [NewTask("t", kind="k", tags=["a"], retry=RetryPolicy(initial_delay=0.2), max_attempts=2)])
    store.claim_task("i", "t", "me", 3600)


def released(store: SqliteClaimStore) -> Callable[[], object]:
    held(store)
    return lambda: store.release_task_claim("i", "t", "me")


def released_by_token(store: SqliteClaimStore) -> Callable[[], object]:
    held(store)
    return lambda: store.release_tasks(list(store.list_claims()))


def lost_with_its_worker(store: SqliteClaimStore) -> Callable[[], object]:
    """A second worker notices the death of the session while it searches for tasks of a kind that the sleeping worker
    does not handle."""
    store.add_instance("i", [NewTask("t", kind="k", tags=["a"])])
    session = store.open_session("me")
    assert store.claim_task("i", "t", "me", 3600, session=session) is not None

    def die() -> None:
        session.drop()
        store._db.probed_us = -(10**18)
        assert store.claim_available_tasks("another", 1, 60, kinds=["none"]) == []

    return die


def tried_again_after_its_back_off(store: SqliteClaimStore) -> Callable[[], object]:
    held(store)
    return lambda: store.fail_tasks([(claim, "no") for claim in store.list_claims()])


def retried(store: SqliteClaimStore) -> Callable[[], object]:
    held(store)
    (claim,) = store.list_claims()
    store.fail_task(claim, "no", retry=False)
    return lambda: store.retry_task("i", "t")


def resumed(store: SqliteClaimStore) -> Callable[[], object]:
    added(store)()
    store.pause_instance("i")
    return lambda: store.resume_instance("i")


def expired(store: SqliteClaimStore) -> Callable[[], object]:
    held(store)

    def hold_shortly() -> None:
        with store.transaction() as tx:
            tx.release_task_claim("i", "t", "me")
            assert tx.claim_task("i", "t", "another", LEASE) is not None

    return hold_shortly


def renewed_for_a_moment(store: SqliteClaimStore) -> Callable[[], object]:
    held(store)
    return lambda: store.renew_task_claims(list(store.list_claims()), LEASE)


EVENTS = [
    added,
    added_in_a_transaction,
    due,
    unblocked,
    released,
    released_by_token,
    lost_with_its_worker,
    tried_again_after_its_back_off,
    retried,
    resumed,
    expired,
    renewed_for_a_moment,
]


@pytest.mark.parametrize("event", first_is_fast(EVENTS), ids=lambda event: event.__name__)
def test_a_sleeping_worker_runs_a_task_that_another_process_has(
    start: Start,
    store: SqliteClaimStore,
    event: Callable[[SqliteClaimStore], Callable[[], object]],
    request: pytest.FixtureRequest,
) -> None:
    happen = event(store)
    sleeper = start(SLEEPER, store.path, request.node.callspec.params["store"])
    sleeper.says("waits")
    happen()
    sleeper.says("runs", "t")


def test_tasks_that_a_sleeping_worker_may_not_take_do_not_wake_it(
    start: Start, store: SqliteClaimStore, request: pytest.FixtureRequest
) -> None:
    sleeper = start(SLEEPER, store.path, request.node.callspec.params["store"])
    sleeper.says("waits")
    store.add_instance("others", [NewTask("t", kind="other"), NewTask("u", kind="k", tags=["b"])])
    added(store)()
    sleeper.says("runs", "t")
    assert [task.attempts for task in store.list_tasks("others")] == [0, 0]
