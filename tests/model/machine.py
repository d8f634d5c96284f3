"""A Hypothesis state machine that makes the same calls on all stores and compares the stores.

All stores share one clock, which moves only when the machine advances it. The memory store is the oracle: all stores
must give the same answer or the same class of error for each call. After each step, everything that can be read must be
the same in all stores. The machine also checks that each change of state is in the diagrams of docs/state-machine.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sqlite_claims import BackendError, NewTask, RetryPolicy
from sqlite_claims.testing import ManualClock

from ..conformance.transitions import Watch, drawn

# A tuple with one item for each store, in the order of the stores.
Each = tuple[Any, ...]

instance_ids = st.sampled_from(["i", "j", "k"])
task_ids = st.sampled_from([f"t{n}" for n in range(8)])
worker_ids = st.sampled_from(["w", "v"])
seconds = st.sampled_from([0, 10, 20, 30, 60, 90])
ttls = st.sampled_from([None, 0, 10, 20, 30, 30])
indices = st.integers(0, 11)
limits = st.sampled_from([1, 2, 3, 1000])
worker_tags = st.sampled_from([None, None, None, [], ["a"], ["a", "b"], ["b", "c"]])
worker_kinds = st.sampled_from([None, None, None, None, ["x"], ["x", "y"], [""], ["", "y"], ["nothing"]])
# Without jitter, because each store draws its jitter separately.
policies = st.sampled_from(
    [RetryPolicy(10, 2, 60, 0), RetryPolicy(0, 1, 0, 0), RetryPolicy(30, 1, 30, 0)],
)


# Calls that a holder makes with its claim, each with a number of seconds or None.
SETTLE: dict[str, Callable[[Any, Any, int | None], Any]] = {
    "complete": lambda store, claim, _: store.complete_task(claim, b"out"),
    "complete with nothing": lambda store, claim, _: store.complete_task(claim),
    "fail": lambda store, claim, seconds: store.fail_task(claim, "broke", retry_in=seconds),
    "fail again": lambda store, claim, _: store.fail_task(claim, "broke in another way"),
    "fail for good": lambda store, claim, _: store.fail_task(claim, "hopeless", retry=False),
    "release": lambda store, claim, _: store.release_task(claim),
    "snooze": lambda store, claim, seconds: store.release_task(claim, delay=seconds),
}
SETTLE_MANY: dict[str, Callable[[Any, Any], Any]] = {
    "renew": lambda store, claims: store.renew_task_claims(claims, 20),
    "complete": lambda store, claims: store.complete_tasks([(claim, b"many") for claim in claims]),
    "fail": lambda store, claims: store.fail_tasks([(claim, "all broke") for claim in claims]),
    "release": lambda store, claims: store.release_tasks(claims),
}


@st.composite
def new_tasks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw tasks as dictionaries of arguments, since ``available_at`` depends on the clock of the state machine."""
    names = sorted(draw(st.lists(task_ids, min_size=2, max_size=6, unique=True)))
    tasks = []
    for name in names:
        # A task depends only on earlier names. Otherwise, one call could have several faults, and no store promises
        # which of them it reports. Sometimes, a dependency is on an earlier task of the store, or on a task that does
        # not exist.
        earlier = [other for other in names if other < name] + ([f"t{int(name[1:]) - 1}"] if name > "t5" else [])
        depends_on = draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True)) if earlier else []
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
    """The stores, and all calls that can be made on them."""

    make_bench: ClassVar[Callable[..., Any]]
    implementations: ClassVar[list[str]]
    watch: ClassVar[Watch]

    @initialize(tasks=new_tasks(), more=new_tasks())
    def open(self, tasks: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
        self.clock = ManualClock()
        self.benches = [type(self).make_bench(name, self.clock) for name in self.implementations]
        self.steps = 0
        self.watch.begin()
        self.sessions: list[Each] = []
        self.over_sessions: list[Each] = []
        # Claims in the order in which they were made. Some may have been lost without an action of the holder.
        self.claims: list[Each] = []
        self.stale: list[Each] = []  # claims that were settled
        for name, made in (("i", self.made(tasks)), ("j", self.made(more))):
            self.ask(lambda store, name=name, made=made: store.add_instance(name, made), any_error=True)

    def teardown(self) -> None:
        for bench in getattr(self, "benches", []):
            assert bench.store.check() == []
            bench.close()

    # -- calls on all stores

    def ask(self, question: Callable[..., Any], *each: Each, any_error: bool = False) -> Each | None:
        """Make the call on all stores, and pass each store the item of ``each`` that belongs to the store. Return
        ``None`` if all stores raised the same error."""
        answers = []
        for place, bench in enumerate(self.benches):
            try:
                answers.append(("is", question(bench.store, *(own[place] for own in each))))
            except BackendError as error:
                answers.append(("raises", BackendError if any_error else type(error)))
        self.watch.look(self.benches[0].store)
        for bench, answer in zip(self.benches[1:], answers[1:], strict=True):
            assert answer == answers[0], f"{bench.implementation} says otherwise"
        return None if answers[0][0] == "raises" else tuple(answer for _, answer in answers)

    def write_something(self) -> None:
        """Write to the file, because a file records the store time only on a write, while the memory store always has
        the current store time."""
        for bench in self.benches:
            bench.store.set_aging_interval(bench.store.aging_interval)

    @invariant()
    def all_that_can_be_read_is_the_same(self) -> None:
        self.ask(lambda store: list(store.list_instances()))
        self.ask(lambda store: list(store.list_tasks()))
        self.ask(lambda store: sorted((repr(claim), claim.remaining()) for claim in store.list_claims()))
        self.ask(lambda store: sorted(map(repr, store.list_workers())))
        self.ask(lambda store: store.stats())
        some = self.task_names(self.steps)
        self.ask(lambda store: store.explain_task(*some))
        self.ask(lambda store: store.get_task(*some))
        self.steps += 1

    def now_and_then(self, every: int) -> bool:
        """Return whether this is an n-th step. Actions with large effects run only at such steps, so that the remaining
        steps are left for other actions."""
        return self.steps % every == 0

    def task_names(self, nth: int, states: list[str] | None = None) -> tuple[str, str]:
        """Draw the name of a stored task or, sometimes, of a task that does not exist."""
        names = [(task.instance_id, task.task_id) for task in self.benches[0].store.list_tasks(states=states)]
        names.append(("i", "nothing"))
        return names[nth % len(names)]

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

    @rule(name=instance_ids, tasks=st.one_of(st.just([]), new_tasks()), skip=st.booleans(), new=st.booleans())
    def add(self, name: str, tasks: list[dict[str, Any]], skip: bool, new: bool) -> None:
        made, if_exists = self.made(tasks), "skip" if skip else "error"

        def add(store: Any) -> Any:
            if new:
                return store.add_instance(name, made, definition_hash=f"{name}/1", if_exists=if_exists)
            return store.add_tasks(name, made, if_exists=if_exists)

        self.ask(add, any_error=True)

    # -- finding and claiming

    @rule(worker=worker_ids, limit=limits, tags=worker_tags, kinds=worker_kinds)
    def find(self, worker: str, limit: int, tags: Any, kinds: Any) -> None:
        self.ask(lambda store: store.find_available_tasks(worker, limit, tags=tags, kinds=kinds))
        self.ask(lambda store: store.wait_for_tasks(0, tags=tags, kinds=kinds))

    def nobodys_or_one_of(self, nth: int) -> Each:
        """Draw a worker's session, which may have ended, or no session."""
        sessions = [(None,) * len(self.benches), *self.sessions, *self.over_sessions[-1:]]
        return sessions[nth % len(sessions)]

    @rule(worker=worker_ids, limit=limits, ttl=ttls, tags=worker_tags, kinds=worker_kinds, session=indices)
    def claim_available(self, worker: str, limit: int, ttl: Any, tags: Any, kinds: Any, session: int) -> None:
        found = self.ask(
            lambda store, own: store.claim_available_tasks(worker, limit, ttl, tags=tags, kinds=kinds, session=own),
            self.nobodys_or_one_of(session),
        )
        for same in zip(*(found or ()), strict=True):
            self.claims.append(tuple(claimed.claim for claimed in same))

    @rule(nth=indices, worker=worker_ids, ttl=ttls, session=indices)
    def claim_by_name(self, nth: int, worker: str, ttl: Any, session: int) -> None:
        names = self.task_names(nth)
        found = self.ask(
            lambda store, own: store.claim_task(*names, worker, ttl, session=own), self.nobodys_or_one_of(session)
        )
        if found is not None and found[0] is not None:
            self.claims.append(found)

    @precondition(lambda self: any(claim.is_expired() for (claim, *_) in self.claims))
    @rule(worker=worker_ids, ttl=ttls)
    def take_over_what_has_expired(self, worker: str, ttl: Any) -> None:
        for claim in [one[0] for one in self.claims if one[0].is_expired()]:
            found = self.ask(lambda store, claim=claim: store.claim_task(claim.instance_id, claim.task_id, worker, ttl))
            if found is not None and found[0] is not None:
                self.claims.append(found)

    # -- calls of holders, also of claims that were lost long ago

    @precondition(lambda self: self.claims)
    @rule(nth=indices, ttl=ttls)
    def renew(self, nth: int, ttl: Any) -> None:
        place = -1 - nth % len(self.claims)
        renewed = self.ask(lambda store, own: store.renew_task_claim(own, ttl), self.claims[place])
        self.claims[place] = renewed or self.claims[place]

    @rule(worker=worker_ids, what=st.sampled_from(sorted(SETTLE)), seconds=st.one_of(st.none(), seconds))
    def do_what_comes_next(self, worker: str, what: str, seconds: int | None) -> None:
        found = self.ask(lambda store: store.claim_available_tasks(worker))
        assert found is not None
        for same in zip(*found, strict=True):
            claim = tuple(claimed.claim for claimed in same)
            self.ask(lambda store, own: SETTLE[what](store, own, seconds), claim)
            self.stale.append(claim)

    @precondition(lambda self: self.claims)
    @rule(what=st.sampled_from(sorted(SETTLE)), seconds=st.one_of(st.none(), seconds))
    def settle_the_newest(self, what: str, seconds: int | None) -> None:
        self.settle(0, what, seconds)

    @precondition(lambda self: self.claims)
    @rule(nth=indices, what=st.sampled_from(sorted(SETTLE)), seconds=st.one_of(st.none(), seconds))
    def settle_one(self, nth: int, what: str, seconds: int | None) -> None:
        self.settle(nth, what, seconds)

    def settle(self, nth: int, what: str, seconds: int | None) -> None:
        claim = self.claims.pop(-1 - nth % len(self.claims))
        self.ask(lambda store, own: SETTLE[what](store, own, seconds), claim)
        self.stale.append(claim)

    @precondition(lambda self: self.stale)
    @rule(nth=indices, what=st.sampled_from(sorted(SETTLE)), token=st.sampled_from([None, None, -1, 0, 1, 2, 3]))
    def settle_what_was_settled_before(self, nth: int, what: str, token: int | None) -> None:
        claim = self.stale[-1 - nth % len(self.stale)]
        if token is not None:
            claim = tuple(replace(own, token=token) for own in claim)
        self.ask(lambda store, own: SETTLE[what](store, own, None), claim)

    @precondition(lambda self: self.claims)
    @rule(nth=indices, worker=st.one_of(st.none(), worker_ids), by=st.one_of(st.none(), seconds))
    def release_or_extend_by_name(self, nth: int, worker: str | None, by: int | None) -> None:
        claim = self.claims[-1 - nth % len(self.claims)][0]
        names = claim.instance_id, claim.task_id, worker or claim.worker_id
        if by is None:
            self.ask(lambda store: store.release_task_claim(*names))
        else:
            self.ask(lambda store: store.extend_task_claim(*names, by))

    @precondition(lambda self: self.claims)
    @rule(chosen=st.lists(indices, min_size=1, max_size=5), what=st.sampled_from(sorted(SETTLE_MANY)))
    def settle_many(self, chosen: list[int], what: str) -> None:
        some = [*self.claims[-4:], *self.stale[-1:]]
        batch = [some[nth % len(some)] for nth in chosen]
        self.ask(SETTLE_MANY[what], tuple(zip(*batch, strict=True)))

    # -- start and end of workers

    @rule(what=st.sampled_from(["open", "open", "close", "die"]), nth=indices)
    def a_worker_comes_or_goes(self, what: str, nth: int) -> None:
        if what == "open":
            self.sessions.append(tuple(bench.store.open_session("s") for bench in self.benches))
        elif self.sessions:
            self.end(self.sessions.pop(nth % len(self.sessions)), die=what == "die")

    def end(self, session: Each, *, die: bool) -> None:
        for bench, own in zip(self.benches, session, strict=True):
            if die:
                bench.kill(own)
            else:
                own.close()
        self.over_sessions.append(session)

    def end_all(self, *, die: bool) -> None:
        while self.sessions:
            self.end(self.sessions.pop(), die=die)

    # -- control of instances

    @rule(name=instance_ids, signal=st.sampled_from(["pause", "pause", "resume", "resume", "resume", "cancel"]))
    def signal(self, name: str, signal: str) -> None:
        self.ask(lambda store: getattr(store, f"{signal}_instance")(name))

    @rule(nth=indices, states=st.sampled_from([["failed"], ["failed"], ["failed"], None]))
    def retry(self, nth: int, states: list[str] | None) -> None:
        names = self.task_names(nth, states)
        self.ask(lambda store: store.retry_task(*names))

    @precondition(lambda self: self.now_and_then(4))
    @rule(older_than=st.sampled_from([0, 30]), limit=st.sampled_from([1, 1000]))
    def prune(self, older_than: int, limit: int) -> None:
        pruned = self.ask(lambda store: store.prune(older_than, limit=limit))
        if pruned is not None and pruned[0]:
            # A prune changes the token at which the remaining tasks continue. The oracle uses this token at once, but a
            # process reads it only at its start. In both stores, later tokens of a task are larger.
            self.restart("process ends")

    @precondition(lambda self: self.now_and_then(3))
    @rule(interval=st.sampled_from([None, 10, 25, 3600]))
    def age(self, interval: int | None) -> None:
        self.ask(lambda store: store.set_aging_interval(interval))
        self.ask(lambda store: store.aging_interval)

    # -- several writes in one transaction

    @precondition(lambda self: self.claims)
    @rule(
        nth=indices,
        tasks=new_tasks(),
        name=instance_ids,
        other=instance_ids,
        control=st.sampled_from(["pause", "resume", "resume", "cancel"]),
        worker=worker_ids,
        commit=st.booleans(),
    )
    def transact(
        self, nth: int, tasks: list[dict[str, Any]], name: str, other: str, control: str, worker: str, commit: bool
    ) -> None:
        made = self.made(tasks)

        def within(store: Any, own: Any) -> list[Any]:
            said: list[Any] = []
            calls: list[Callable[[Any], Any]] = [
                lambda tx: tx.complete_task(own, b"step"),
                lambda tx: tx.add_tasks(name, made, if_exists="skip"),
                lambda tx: getattr(tx, f"{control}_instance")(other),
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
                        if commit and store is self.benches[0].store:
                            self.watch.look(store)
                    if not commit:
                        raise KeyError
            except KeyError:
                pass
            return said

        self.ask(within, self.claims[-1 - nth % len(self.claims)])

    # -- time

    @rule(by=st.sampled_from([10, 10, 30, 60]))
    def time_passes(self, by: int) -> None:
        self.clock.advance(by)

    @rule()
    def time_passes_until_most_claims_have_expired(self) -> None:
        self.clock.advance(100)

    @precondition(lambda self: self.now_and_then(3))
    @rule(by=st.sampled_from([-3600, -20, 20, 3600]))
    def somebody_sets_the_wall_clock(self, by: int) -> None:
        self.clock.step_wall(by)

    @precondition(lambda self: self.now_and_then(3))
    @rule(by=st.sampled_from([30, 3600]))
    def the_machine_sleeps(self, by: int) -> None:
        self.write_something()
        self.clock.sleep(by)
        self.write_something()

    @precondition(lambda self: self.now_and_then(6))
    @rule(how=st.sampled_from(["process ends", "process dies", "machine"]))
    def the_process_or_the_machine_restarts(self, how: str) -> None:
        self.restart(how)

    def restart(self, how: str) -> None:
        self.write_something()
        self.end_all(die=how != "process ends")
        for bench in self.benches:
            bench.go_down()
        if how == "machine":
            self.clock.reboot()
        for bench in self.benches:
            bench.come_up()
        if how == "machine":
            # A file stores store time rounded up to a second, so the oracle must use the same value.
            oracle = self.benches[0].store
            oracle.stats()
            oracle._backend.engine.state.anchor += 1_000_000


def explore(make_bench: Callable[..., Any], implementations: list[str], *, all_drawn: bool = True, **how: Any) -> None:
    """Play histories. With ``all_drawn``, fail if some field of a task or instance was never drawn."""
    # The asynchronous store runs the same synchronous store in a thread, so a comparison with the asynchronous store
    # would find nothing new.
    side_by_side = [name for name in implementations if name != "async"]
    watch = Watch()
    own = {"make_bench": staticmethod(make_bench), "implementations": side_by_side, "watch": watch}
    machine = type("Stores", (SideBySide,), own)
    run_state_machine_as_test(machine, settings=settings(database=None, phases=(Phase.generate, Phase.shrink), **how))
    tasks, instances = drawn()
    if all_drawn:
        assert (watch.tasks - tasks, watch.instances - instances) == (set(), set())
