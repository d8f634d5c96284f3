"""All stores side by side: whatever is done to them, they say the same.

One clock that stands still is shared by all. The store in memory is the oracle; each answer, each kind of error, and
after each step all that can be read, must be the same in all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from sqlite_claims import BackendError, NewTask, RetryPolicy
from sqlite_claims.testing import ManualClock

# One of each thing for each store, in the order of the stores.
Each = tuple[Any, ...]

instance_ids = st.sampled_from(["i", "j", "k"])
task_ids = st.sampled_from([f"t{n}" for n in range(8)])
worker_ids = st.sampled_from(["w", "v"])
seconds = st.sampled_from([0, 10, 20, 30, 60, 90])
ttls = st.one_of(st.none(), seconds, st.just(30))
limits = st.sampled_from([1, 1, 2, 3, 1000])
worker_tags = st.sampled_from([None, [], ["a"], ["a", "b"], ["b", "c"]])
worker_kinds = st.sampled_from([None, None, ["x"], ["x", "y"], [""], ["", "y"], ["nothing"]])
# No jitter: the stores draw for themselves.
policies = st.sampled_from(
    [RetryPolicy(10, 2, 60, 0), RetryPolicy(0, 1, 0, 0), RetryPolicy(30, 1, 30, 0)],
)


@st.composite
def new_tasks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Tasks as keywords, since ``available_at`` is counted from the machine's clock."""
    names = draw(st.lists(task_ids, min_size=1, max_size=5, unique=True))
    tasks = []
    for name in names:
        # Only on earlier names: in which order several faults of one call are reported is nobody's promise.
        earlier = [f"t{n}" for n in range(int(name[1:]))]
        depends_on = draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True)) if earlier else []
        if draw(st.booleans()):
            depends_on = []
        tasks.append(
            {
                "task_id": name,
                "input": draw(st.sampled_from([None, None, b"", b"in"])),
                "depends_on": depends_on,
                "kind": draw(st.sampled_from([None, "x", "y"])),
                "tags": draw(st.sampled_from([[], [], ["a"], ["a", "b"], ["c"]])),
                "priority": draw(st.integers(1, 5)),
                "due": draw(
                    st.sampled_from([None] * 6 + [("delay", 10), ("delay", 40), ("at", -30), ("at", 20), ("at", 60)])
                ),
                "max_attempts": draw(st.integers(1, 3)),
                "max_lost": draw(st.integers(1, 3)),
                "retry": draw(policies),
            }
        )
    return tasks


class SideBySide(RuleBasedStateMachine):
    """The stores, and all that one can do to them."""

    make_bench: ClassVar[Callable[..., Any]]
    implementations: ClassVar[list[str]]

    claims = Bundle("claims")
    sessions = Bundle("sessions")

    @initialize()
    def open(self) -> None:
        self.clock = ManualClock()
        self.benches = [type(self).make_bench(name, self.clock) for name in self.implementations]
        self.open_sessions: list[Each] = []

    def teardown(self) -> None:
        for bench in getattr(self, "benches", []):
            assert bench.store.check() == []
            bench.close()

    # -- asking all stores the same

    def ask(self, question: Callable[..., Any], *each: Each, any_error: bool = False) -> Each | None:
        """Ask all stores, with each one's own part of ``each``. ``None``: all refused, in the same way."""
        answers = []
        for place, bench in enumerate(self.benches):
            try:
                answers.append(("is", question(bench.store, *(own[place] for own in each))))
            except BackendError as error:
                answers.append(("raises", BackendError if any_error else type(error)))
        for bench, answer in zip(self.benches[1:], answers[1:], strict=True):
            assert answer == answers[0], f"{bench.implementation} says otherwise"
        return None if answers[0][0] == "raises" else tuple(answer for _, answer in answers)

    def write_something(self) -> None:
        """The file keeps store time when it is written to; what is in memory has it always."""
        for bench in self.benches:
            bench.store.set_aging_interval(bench.store.aging_interval)

    @invariant()
    def all_that_can_be_read_is_the_same(self) -> None:
        self.ask(lambda store: list(store.list_instances()))
        self.ask(lambda store: list(store.list_tasks()))
        self.ask(lambda store: sorted(store.list_claims(), key=lambda claim: (claim.instance_id, claim.task_id)))
        self.ask(lambda store: [claim.remaining() for claim in sorted(store.list_claims(), key=repr)])
        self.ask(lambda store: sorted(map(repr, store.list_workers())))
        self.ask(lambda store: store.stats())
        self.ask(lambda store: [store.explain_task(task.instance_id, task.task_id) for task in store.list_tasks()])

    # -- adding

    def made(self, tasks: list[dict[str, Any]]) -> list[NewTask]:
        return [self.new_task(**task) for task in tasks]

    def new_task(self, due: tuple[str, int] | None, **task: Any) -> NewTask:
        if due is not None and due[0] == "delay":
            task["delay"] = due[1]
        elif due is not None:
            now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.clock.wall_us())
            task["available_at"] = now + timedelta(seconds=due[1])
        return NewTask(**task)

    @rule(name=instance_ids, tasks=st.one_of(st.just([]), new_tasks(), new_tasks()), skip=st.booleans())
    def add_instance(self, name: str, tasks: list[dict[str, Any]], skip: bool) -> None:
        made, if_exists = self.made(tasks), "skip" if skip else "error"
        self.ask(
            lambda store: store.add_instance(name, made, definition_hash=f"{name}/1", if_exists=if_exists),
            any_error=True,
        )

    @rule(name=instance_ids, tasks=new_tasks(), skip=st.booleans())
    def add_tasks(self, name: str, tasks: list[dict[str, Any]], skip: bool) -> None:
        made, if_exists = self.made(tasks), "skip" if skip else "error"
        self.ask(lambda store: store.add_tasks(name, made, if_exists=if_exists), any_error=True)

    @rule(name=instance_ids)
    def add_no_tasks(self, name: str) -> None:
        self.ask(lambda store: store.add_tasks(name, []))

    # -- looking for work and claiming

    @rule(worker=worker_ids, limit=limits, tags=worker_tags, kinds=worker_kinds)
    def find(self, worker: str, limit: int, tags: Any, kinds: Any) -> None:
        self.ask(lambda store: store.find_available_tasks(worker, limit, tags=tags, kinds=kinds))

    @rule(tags=worker_tags, kinds=worker_kinds)
    def wait_for_no_time(self, tags: Any, kinds: Any) -> None:
        self.ask(lambda store: store.wait_for_tasks(0, tags=tags, kinds=kinds))

    @rule(target=claims, worker=worker_ids, limit=limits, ttl=ttls, tags=worker_tags, kinds=worker_kinds)
    def claim_available(self, worker: str, limit: int, ttl: Any, tags: Any, kinds: Any) -> Any:
        found = self.ask(lambda store: store.claim_available_tasks(worker, limit, ttl, tags=tags, kinds=kinds))
        assert found is not None
        return multiple(*(tuple(claimed.claim for claimed in same) for same in zip(*found, strict=True)))

    @rule(target=claims, session=sessions, limit=limits, ttl=ttls)
    def claim_available_in_a_session(self, session: Each, limit: int, ttl: Any) -> Any:
        found = self.ask(lambda store, own: store.claim_available_tasks("s", limit, ttl, session=own), session)
        return multiple(*(tuple(claimed.claim for claimed in same) for same in zip(*(found or ()), strict=True)))

    @rule(target=claims, name=instance_ids, task=task_ids, worker=worker_ids, ttl=ttls)
    def claim_by_name(self, name: str, task: str, worker: str, ttl: Any) -> Any:
        found = self.ask(lambda store: store.claim_task(name, task, worker, ttl))
        return multiple() if found is None or found[0] is None else found

    @rule(target=claims, session=sessions, name=instance_ids, task=task_ids, ttl=ttls)
    def claim_by_name_in_a_session(self, session: Each, name: str, task: str, ttl: Any) -> Any:
        found = self.ask(lambda store, own: store.claim_task(name, task, "s", ttl, session=own), session)
        return multiple() if found is None or found[0] is None else found

    # -- what holders do, also those whose claim is long lost

    @rule(target=claims, claim=consumes(claims), ttl=ttls)
    def renew(self, claim: Each, ttl: Any) -> Any:
        return self.ask(lambda store, own: store.renew_task_claim(own, ttl), claim) or claim

    @rule(claim=claims, output=st.sampled_from([b"", b"out"]))
    def complete(self, claim: Each, output: bytes) -> None:
        self.ask(lambda store, own: store.complete_task(own, output), claim)

    @rule(claim=claims, retry=st.sampled_from([True, True, False]), retry_in=st.one_of(st.none(), seconds))
    def fail(self, claim: Each, retry: bool, retry_in: Any) -> None:
        self.ask(lambda store, own: store.fail_task(own, "broke", retry=retry, retry_in=retry_in), claim)

    @rule(claim=claims, delay=st.one_of(st.none(), seconds))
    def release(self, claim: Each, delay: Any) -> None:
        self.ask(lambda store, own: store.release_task(own, delay=delay), claim)

    @rule(claim=claims, worker=st.one_of(st.none(), worker_ids), by=seconds)
    def extend_by_name(self, claim: Each, worker: str | None, by: int) -> None:
        own = claim[0]
        self.ask(lambda store: store.extend_task_claim(own.instance_id, own.task_id, worker or own.worker_id, by))

    @rule(claim=claims, worker=st.one_of(st.none(), worker_ids))
    def release_by_name(self, claim: Each, worker: str | None) -> None:
        own = claim[0]
        self.ask(lambda store: store.release_task_claim(own.instance_id, own.task_id, worker or own.worker_id))

    @rule(
        batch=st.lists(claims, min_size=1, max_size=4),
        what=st.sampled_from(["renew", "complete", "fail", "release"]),
        ttl=ttls,
    )
    def settle_many(self, batch: list[Each], what: str, ttl: Any) -> None:
        settle: dict[str, Callable[..., Any]] = {
            "renew": lambda store, own: store.renew_task_claims(own, ttl),
            "complete": lambda store, own: store.complete_tasks([(claim, b"many") for claim in own]),
            "fail": lambda store, own: store.fail_tasks([(claim, "all broke") for claim in own]),
            "release": lambda store, own: store.release_tasks(own),
        }
        self.ask(settle[what], tuple(zip(*batch, strict=True)))

    @rule(claim=claims, token=st.integers(-1, 3))
    def complete_with_a_made_up_token(self, claim: Each, token: int) -> None:
        self.ask(lambda store, own: store.complete_task(replace(own, token=token), b"forged"), claim)

    # -- workers' lives

    @rule(target=sessions)
    def open_session(self) -> Any:
        opened = tuple(bench.store.open_session("s") for bench in self.benches)
        self.open_sessions.append(opened)
        return opened

    @rule(session=consumes(sessions))
    def close_session(self, session: Each) -> None:
        for own in session:
            own.close()

    @rule(session=consumes(sessions))
    def worker_dies(self, session: Each) -> None:
        self.kill(session)

    def kill(self, session: Each) -> None:
        for bench, own in zip(self.benches, session, strict=True):
            bench.kill(own)

    # -- what happens to instances

    @rule(name=instance_ids)
    def pause(self, name: str) -> None:
        self.ask(lambda store: store.pause_instance(name))

    @rule(name=instance_ids)
    def resume(self, name: str) -> None:
        self.ask(lambda store: store.resume_instance(name))

    @rule(name=instance_ids, reason=st.sampled_from([None, "enough"]))
    def cancel(self, name: str, reason: str | None) -> None:
        self.ask(lambda store: store.cancel_instance(name, reason))

    @rule(name=instance_ids, task=task_ids)
    def retry(self, name: str, task: str) -> None:
        self.ask(lambda store: store.retry_task(name, task))

    @rule()
    def retry_all_that_failed(self) -> None:
        for task in list(self.benches[0].store.list_tasks(states=["failed"])):
            self.retry(task.instance_id, task.task_id)

    @rule(older_than=seconds, limit=st.sampled_from([1, 1000]))
    def prune(self, older_than: int, limit: int) -> None:
        self.ask(lambda store: store.prune(older_than, limit=limit))

    @rule(interval=st.sampled_from([None, 10, 25, 3600]))
    def age(self, interval: int | None) -> None:
        self.ask(lambda store: store.set_aging_interval(interval))
        self.ask(lambda store: store.aging_interval)

    # -- several writes at once

    @rule(
        claim=claims,
        tasks=new_tasks(),
        name=instance_ids,
        worker=worker_ids,
        end=st.sampled_from(["commit", "commit", "roll back"]),
    )
    def transact(self, claim: Each, tasks: list[dict[str, Any]], name: str, worker: str, end: str) -> None:
        made = self.made(tasks)

        def within(store: Any, own: Any) -> list[Any]:
            said: list[Any] = []
            calls: list[Callable[[Any], Any]] = [
                lambda tx: tx.complete_task(own, b"step"),
                lambda tx: tx.add_tasks(name, made, if_exists="skip"),
                lambda tx: [claimed.task for claimed in tx.claim_available_tasks(worker, 2, 20)],
                lambda tx: tx.get_instance(name),
                lambda tx: tx.fail_task(own, "again"),
            ]
            try:
                with store.transaction(timeout=600) as tx:
                    for call in calls:
                        try:
                            said.append(call(tx))
                        except BackendError:
                            said.append("refused")
                    if end == "roll back":
                        raise KeyError
            except KeyError:
                pass
            return said

        self.ask(within, claim)

    # -- time

    @rule(by=st.sampled_from([10, 10, 30, 60, 100]))
    def time_passes(self, by: int) -> None:
        self.clock.advance(by)

    @rule(by=st.sampled_from([-3600, -20, 20, 3600]))
    def somebody_sets_the_wall_clock(self, by: int) -> None:
        self.clock.step_wall(by)

    @rule(by=st.sampled_from([30, 3600]))
    def the_machine_sleeps(self, by: int) -> None:
        self.write_something()
        self.clock.sleep(by)
        self.write_something()

    @rule(die=st.booleans())
    def the_process_restarts(self, die: bool) -> None:
        for session in self.open_sessions:
            if die:
                self.kill(session)
            else:
                for own in session:
                    own.close()
        self.open_sessions.clear()
        for bench in self.benches:
            bench.reopen()

    @rule()
    def the_machine_restarts(self) -> None:
        self.write_something()
        for session in self.open_sessions:
            self.kill(session)
        self.open_sessions.clear()
        for bench in self.benches:
            bench.go_down()
        self.clock.reboot()
        for bench in self.benches:
            bench.come_up()
        # A file says to a second, rounded up, where store time has come to; then so must the oracle.
        oracle = self.benches[0].store
        oracle.stats()
        oracle._inner.state.anchor += 1_000_000


def explore(make_bench: Callable[..., Any], implementations: list[str], **how: Any) -> None:
    machine = type(
        "Stores", (SideBySide,), {"make_bench": staticmethod(make_bench), "implementations": implementations}
    )
    run_state_machine_as_test(machine, settings=settings(database=None, phases=(Phase.generate, Phase.shrink), **how))


def test_whatever_is_done_to_them_all_stores_say_the_same(
    make_bench: Callable[..., Any], implementations: list[str]
) -> None:
    explore(make_bench, implementations, derandomize=True, max_examples=60, stateful_step_count=60)


@pytest.mark.soak
def test_whatever_is_done_to_them_for_long_all_stores_say_the_same(
    make_bench: Callable[..., Any], implementations: list[str]
) -> None:
    explore(
        make_bench,
        implementations,
        max_examples=int(os.environ.get("SQLITE_CLAIMS_MODEL_EXAMPLES", "2000")),
        stateful_step_count=120,
    )
