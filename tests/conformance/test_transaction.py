"""All writes of a ``transaction()`` are committed, or none of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from sqlite_claims import (
    AlreadyExistsError,
    ClaimLostError,
    InstanceState,
    InvalidArgumentError,
    InvalidStateError,
    NewTask,
    NotFoundError,
    StoreBusyError,
    TaskState,
)
from sqlite_claims.testing import ManualClock

Seen = Callable[[], list[Any]]


def in_a_thread(act: Callable[[], Any]) -> Any:
    """Run ``act`` in another thread. Return its result or its exception."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((act(), None))
        except BaseException as error:  # noqa: BLE001 - the error is raised again below
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def test_all_of_it_happens_together(store: Any) -> None:
    store.add_instance("i", [NewTask("plan")])
    claim = store.claim_task("i", "plan", "w", 30)
    with store.transaction() as tx:
        tx.add_tasks("i", [NewTask("a", depends_on=["plan"]), NewTask("b")])
        tx.complete_task(claim, b"planned")
        assert tx.get_task("i", "a").state is TaskState.READY
        assert tx.get_instance("i").counts[TaskState.READY] == 2
        next_claim = tx.claim_task("i", "a", "w", 30)
        assert tx.add_instance("j", [NewTask("t")]) is True
        tx.pause_instance("j")
    assert store.get_task("i", "plan").output == b"planned"
    assert store.get_task("i", "a").claim == next_claim
    assert store.get_instance("j").state is InstanceState.PAUSED
    store.complete_task(next_claim)


def test_an_error_that_leaves_the_block_undoes_all_of_it(store: Any, seen: Seen) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    claim = store.claim_task("i", "t", "w", 30)
    before = seen()

    def half() -> None:
        with store.transaction() as tx:
            tx.complete_task(claim, b"out")
            tx.add_instance("j", [NewTask("t", kind="new", tags=["new"])])
            tx.claim_available_tasks("w", 5)
            tx.cancel_instance("i")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        half()
    assert seen() == before
    assert store.check() == []
    store.complete_task(claim)


def test_after_an_undone_transaction_new_kinds_and_tags_are_as_if_they_had_never_been(
    store: Any, offered: Callable[..., list[str]]
) -> None:
    def undone() -> None:
        with store.transaction() as tx:
            tx.add_instance("i", [NewTask("t", kind="a")])
            tx.claim_available_tasks("w", 5, kinds=["a"])
            raise KeyError

    with pytest.raises(KeyError):
        undone()
    store.add_instance("i", [NewTask("t", kind="b"), NewTask("u", kind="a")])
    assert (offered(kinds=["a"]), offered(kinds=["b"])) == (["u"], ["t"])


def test_a_call_that_raises_undoes_only_itself(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    with store.transaction() as tx:
        tx.add_tasks("i", [NewTask("u")])
        with pytest.raises(AlreadyExistsError):
            tx.add_tasks("i", [NewTask("v"), NewTask("t")])
        tx.complete_task(claim)
        with pytest.raises(ClaimLostError):
            tx.complete_task(claim)
        with pytest.raises(NotFoundError):
            tx.get_task("i", "v")
        with pytest.raises(InvalidArgumentError):
            tx.add_tasks("i", [NewTask("v"), NewTask("w", depends_on=["nothing"])])
        with pytest.raises(InvalidStateError):
            tx.retry_task("i", "t")
    assert {task.task_id: task.state for task in store.list_tasks("i")} == {"t": "completed", "u": "ready"}


def test_the_methods_in_it_mean_what_the_stores_do(store: Any) -> None:
    store.add_instance("i", [NewTask(name, max_attempts=1) for name in "abcdefghi"])
    with store.transaction(timeout=60) as tx:
        claims = {claimed.task.task_id: claimed.claim for claimed in tx.claim_available_tasks("w", 9, 30)}
        renewed = tx.renew_task_claim(claims["a"], 60)
        assert renewed.expires_at == claims["a"].expires_at + 30
        tx.extend_task_claim("i", "a", "w", 5)
        assert tx.get_task("i", "a").claim.expires_at == renewed.expires_at + 5
        tx.release_task_claim("i", "b", "w")
        tx.release_task(claims["c"], delay=5)
        tx.fail_task(claims["d"], "no")
        tx.retry_task("i", "d")
        assert tx.complete_tasks([(claims["e"], b"e"), (claims["b"], b"")]) == ([claims["e"]], [claims["b"]])
        assert tx.fail_tasks([(claims["f"], "no"), (claims["b"], "no")]) == ([claims["f"]], [claims["b"]])
        assert tx.release_tasks([claims["g"], claims["b"]]) == ([claims["g"]], [claims["b"]])
        done, lost = tx.renew_task_claims([claims["h"], claims["b"]], None)
        assert (done[0].expires_at, lost) == (None, [claims["b"]])
        assert tx.claim_task("i", "b", "v", 30).worker_id == "v"
        tx.pause_instance("i")
        tx.resume_instance("i")
    found = {task.task_id: task.state for task in store.list_tasks("i")}
    assert found == {
        "a": "claimed", "b": "claimed", "c": "scheduled", "d": "ready", "e": "completed", "f": "failed", "g": "ready",
        "h": "claimed", "i": "claimed",
    }  # fmt: skip


def test_claims_made_in_it_can_be_bound_to_a_session(bench: Any, offered: Callable[..., list[str]]) -> None:
    store = bench.store
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    session = store.open_session("w")
    with store.transaction() as tx:
        assert tx.claim_task("i", "t", "w", None, session=session) is not None
        assert tx.claim_available_tasks("w", 1, None, session=session)[0].task.task_id == "u"
    bench.kill(session)
    assert offered() == ["t", "u"]


def test_it_gives_back_what_it_finds_expired_as_any_look_for_work_does(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("last", max_lost=1), NewTask("t")])
    store.claim_available_tasks("w", 2, 5)
    clock.advance(5)
    with store.transaction() as tx:
        assert [claimed.task.task_id for claimed in tx.claim_available_tasks("v", 5)] == ["t"]
        assert tx.get_task("i", "last").state is TaskState.FAILED


WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "claim_task": lambda store, _: store.claim_task("i", "u", "w", 30),
    "claim_available_tasks": lambda store, _: store.claim_available_tasks("w"),
    "claim_available_tasks, none": lambda store, _: store.claim_available_tasks("w", 0),
    "claim_available_tasks, no kinds": lambda store, _: store.claim_available_tasks("w", kinds=[]),
    "release_task_claim": lambda store, _: store.release_task_claim("i", "t", "w"),
    "extend_task_claim": lambda store, _: store.extend_task_claim("i", "t", "w", 5),
    "renew_task_claim": lambda store, claim: store.renew_task_claim(claim, 30),
    "complete_task": lambda store, claim: store.complete_task(claim),
    "fail_task": lambda store, claim: store.fail_task(claim, "no"),
    "release_task": lambda store, claim: store.release_task(claim),
    "renew_task_claims": lambda store, claim: store.renew_task_claims([claim], 30),
    "complete_tasks": lambda store, claim: store.complete_tasks([(claim, b"")]),
    "fail_tasks": lambda store, claim: store.fail_tasks([(claim, "no")]),
    "release_tasks": lambda store, claim: store.release_tasks([claim]),
    "add_instance": lambda store, _: store.add_instance("j"),
    "add_tasks": lambda store, _: store.add_tasks("i", [NewTask("new")]),
    "pause_instance": lambda store, _: store.pause_instance("i"),
    "resume_instance": lambda store, _: store.resume_instance("i"),
    "cancel_instance": lambda store, _: store.cancel_instance("i"),
    "retry_task": lambda store, _: store.retry_task("i", "t"),
    "set_aging_interval": lambda store, _: store.set_aging_interval(60),
    "prune": lambda store, _: store.prune(0),
    "open_session": lambda store, _: store.open_session("w"),
    "transaction": lambda store, _: store.transaction().__enter__(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_the_stores_own_writing_methods_are_refused_on_that_thread_meanwhile(
    store: Any, seen: Seen, write: Callable[[Any, Any], Any]
) -> None:
    store.add_instance("i", [NewTask("t"), NewTask("u")])
    claim = store.claim_task("i", "t", "w", 30)
    before = seen()
    with store.transaction() as tx:
        with pytest.raises(InvalidStateError):
            write(store, claim)
        assert tx.get_task("i", "t").claim == claim
    assert seen() == before
    store.complete_task(claim)


def test_it_belongs_to_the_thread_that_made_it(store: Any) -> None:
    with store.transaction() as tx:
        with pytest.raises(InvalidStateError):
            in_a_thread(lambda: tx.add_instance("i"))
        tx.add_instance("j")
    assert [info.instance_id for info in store.list_instances()] == ["j"]


@pytest.mark.parametrize("rolled_back", [False, True])
def test_it_ends_with_its_block(store: Any, rolled_back: bool) -> None:
    kept: list[Any] = []

    def use() -> None:
        with store.transaction() as tx:
            kept.append(tx)
            tx.add_instance("i")
            if rolled_back:
                raise KeyError

    if rolled_back:
        with pytest.raises(KeyError):
            use()
    else:
        use()
    with pytest.raises(InvalidStateError):
        kept[0].add_instance("j")
    with pytest.raises(InvalidStateError):
        kept[0].get_instance("i")
    assert store.add_instance("i", if_exists="skip") is rolled_back


def test_a_transaction_without_calls_changes_nothing(store: Any, seen: Seen) -> None:
    store.add_instance("i", [NewTask("t")])
    before = seen()
    with store.transaction():
        pass
    assert seen() == before


def test_another_threads_write_waits_for_its_end(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    started = threading.Event()
    claims: list[Any] = []

    def other() -> None:
        started.set()
        claims.append(store.claim_task("i", "t", "other", 30))

    thread = threading.Thread(target=other)
    with store.transaction() as tx:
        thread.start()
        started.wait()
        assert tx.claim_task("i", "t", "mine", 30) is not None
    thread.join()
    assert claims == [None]


# -- duration of a transaction


def test_past_its_timeout_the_next_call_undoes_it(store: Any, seen: Seen) -> None:
    store.add_instance("i", [NewTask("t")])
    before = seen()

    def slow() -> None:
        with store.transaction(timeout=0.05) as tx:
            tx.add_instance("j")
            threading.Event().wait(0.06)
            with pytest.raises(StoreBusyError):
                tx.add_instance("k")
            with pytest.raises(StoreBusyError):
                tx.add_instance("l")

    with pytest.raises(StoreBusyError):
        slow()
    assert seen() == before
    store.add_instance("j")


def test_past_its_timeout_its_end_undoes_it(store: Any, seen: Seen) -> None:
    before = seen()

    def slow() -> None:
        with store.transaction(timeout=0.05) as tx:
            tx.add_instance("j")
            threading.Event().wait(0.06)

    with pytest.raises(StoreBusyError):
        slow()
    assert seen() == before


def test_an_error_of_the_callers_own_is_not_hidden_by_a_timeout(store: Any, seen: Seen) -> None:
    before = seen()

    def slow_and_broken() -> None:
        with store.transaction(timeout=1) as tx:
            tx.add_instance("j")
            threading.Event().wait(1.01)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        slow_and_broken()
    assert seen() == before


def test_its_timeout_bounds_the_wait_for_another_one(bench: Any) -> None:
    other = bench.open()

    def wait() -> None:
        with other.transaction(timeout=0.05) as tx:
            tx.add_instance("never")

    with bench.store.transaction(timeout=60) as tx:
        tx.add_instance("i")
        with pytest.raises(StoreBusyError):
            in_a_thread(wait)
    assert [info.instance_id for info in bench.store.list_instances()] == ["i"]
    if other is not bench.store:
        other.close()


def test_within_it_waiting_ends_at_the_timeout_since_nobody_else_can_do_anything(store: Any) -> None:
    store.add_instance("i", [NewTask("t", delay=3600)])
    with store.transaction() as tx:
        tx.add_instance("j")
        assert store.wait_for_tasks(0.01) is False
        assert store.wait_for_instance("i", 0.01) is None
