"""The doorbell rings for waiting workers after each change that makes a task claimable, or claimable earlier than
planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import NewTask, RetryPolicy, SqliteClaimStore
from sqlite_claims.sqlite.doorbell import READY
from sqlite_claims.sqlite.operations import claiming, control, sweep

LONG, SHORT = 60, 0.1


class CountingBell:
    """A doorbell that wakes no process and counts the rings for waiting workers."""

    def __init__(self) -> None:
        self.rings = 0

    def read(self, which: int) -> int:  # noqa: ARG002
        return self.rings

    def ring(self, which: int) -> None:
        self.rings += which == READY

    def wait(self, *_: object) -> None:
        raise AssertionError("nothing here waits")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process", use_c_core=False) as store:
        store.add_instance("i", [NewTask("t", max_attempts=2, retry=RetryPolicy(initial_delay=60)), NewTask("u")])
        yield store


def rings_of(store: SqliteClaimStore, call: Callable[[], Any]) -> int:
    """Count how often a call rings for waiting workers."""
    bell = store._db.bell = CountingBell()
    call()
    return bell.rings


def claimed(store: SqliteClaimStore, task_id: str = "t", ttl: float = LONG) -> Any:
    claim = store.claim_task("i", task_id, "w", ttl)
    assert claim is not None
    return claim


def test_adding_tasks_rings(store: SqliteClaimStore) -> None:
    assert rings_of(store, lambda: store.add_instance("j", [NewTask("t")])) == 1
    assert rings_of(store, lambda: store.add_tasks("j", [NewTask("u")])) == 1


def test_releasing_by_worker_id_rings(store: SqliteClaimStore) -> None:
    claimed(store)
    assert rings_of(store, lambda: store.release_task_claim("i", "t", "w")) == 1


def test_releasing_by_token_rings(store: SqliteClaimStore) -> None:
    claim = claimed(store)
    assert rings_of(store, lambda: store.release_task(claim)) == 1
    claim = claimed(store)
    assert rings_of(store, lambda: store.release_tasks([claim])) == 1


def test_a_failure_that_is_tried_again_rings_and_the_last_one_does_not(store: SqliteClaimStore) -> None:
    claim = claimed(store)
    assert rings_of(store, lambda: store.fail_task(claim, "error", retry_in=0)) == 1
    claim = claimed(store)
    assert rings_of(store, lambda: store.fail_task(claim, "error")) == 0


def test_retrying_a_failed_task_rings(store: SqliteClaimStore) -> None:
    store.fail_task(claimed(store), "error", retry=False)
    assert rings_of(store, lambda: store.retry_task("i", "t")) == 1


def test_completing_rings_only_if_it_unblocks_dependents(store: SqliteClaimStore) -> None:
    store.add_tasks("i", [NewTask("after", depends_on=["u"])])
    plain, before = claimed(store), claimed(store, "u")
    assert rings_of(store, lambda: store.complete_task(plain)) == 0
    assert rings_of(store, lambda: store.complete_task(before)) == 1


def test_resuming_rings_and_so_does_each_step_of_its_tasks(store: SqliteClaimStore) -> None:
    store.pause_instance("i")
    assert rings_of(store, lambda: store._db.write(control.resume, False, "i")) == 1
    assert rings_of(store, lambda: store._db.write(control.move_step, False)) == 1
    assert rings_of(store, lambda: store.pause_instance("i")) == 0


def test_the_loss_of_a_dead_workers_claim_rings(store: SqliteClaimStore) -> None:
    session = store.open_session("w")
    assert store.claim_task("i", "t", "w", None, session=session) is not None
    session.drop()  # drop the lock, as the kernel does when the process dies
    assert rings_of(store, lambda: store._db.write(sweep.sweep, False)) == 1
    assert store.get_task("i", "t").losses == 1


@pytest.mark.parametrize(("ttl", "rings"), [(SHORT, 1), (LONG, 0)])
def test_a_claim_rings_if_its_lease_ends_before_a_waiting_worker_checks_again(
    store: SqliteClaimStore, ttl: float, rings: int
) -> None:
    assert rings_of(store, lambda: claimed(store, "t", ttl)) == rings
    assert rings_of(store, lambda: store.claim_available_tasks("w", 1, ttl)) == rings
    (claim,) = [claim for claim in store.list_claims() if claim.task_id == "u"]
    assert rings_of(store, lambda: store.renew_task_claim(claim, ttl)) == rings


def test_an_operation_that_frees_a_slot_of_a_limit_rings(store: SqliteClaimStore) -> None:
    store.set_limit("a", concurrency=1)
    store.add_instance("limited", [NewTask("t", limit="a"), NewTask("u", limit="a"), NewTask("v", limit="a")])
    claim: Any = store.claim_task("limited", "t", "w", LONG)
    assert rings_of(store, lambda: store.complete_task(claim)) == 1
    claim = store.claim_task("limited", "u", "w", LONG)
    assert rings_of(store, lambda: store.fail_task(claim, "error", retry=False)) == 1
    assert rings_of(store, lambda: store.set_limit("a", concurrency=2)) == 1
    assert rings_of(store, lambda: store.remove_limit("a")) == 1


def test_a_waiting_worker_sleeps_until_a_limit_may_permit_the_next_task(store: SqliteClaimStore) -> None:
    store.set_limit("b", rate=(1, 30))
    store.add_instance("limited", [NewTask("t", limit="b", kind="k"), NewTask("u", limit="b", kind="k")])
    assert len(store.claim_available_tasks("w", 5, LONG, kinds=["k"])) == 1
    seconds = store._db.read(claiming.seconds_until_next, tags=(), kinds=frozenset(["k"]))
    assert 0 < seconds <= 30
