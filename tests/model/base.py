"""The state that the rules of all subjects share: the stores, a clock, the claims and the sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from sqlite_claims import BackendError, NewTask, RetryPolicy
from sqlite_claims.testing import ManualClock

from ..conformance.transitions import Watch

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


@st.composite
def new_tasks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw tasks as dictionaries of arguments, since ``available_at`` depends on the clock of the state machine."""
    names = sorted(draw(st.lists(task_ids, min_size=2, max_size=6, unique=True)))
    tasks = []
    for name in names:
        # A task depends only on earlier names. Otherwise, one call could have several faults, and each store may report
        # a different fault. Sometimes, a dependency is on an earlier task of the store, or on a task that does not
        # exist.
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
                "unique_key": draw(st.sampled_from([None] * 8 + ["k", "l"])),
                "metadata": draw(st.sampled_from([None, None, {}, {"a": "b"}])),
                "timeout": draw(st.sampled_from([None, None, 1.5])),
                "expires_in": draw(st.sampled_from([None] * 8 + [-10, 20, 60])),
                "max_attempts": draw(st.integers(1, 3)),
                "max_lost": draw(st.integers(1, 3)),
                "retry": draw(policies),
                "limit": draw(st.sampled_from([None, None, None, "a", "a:1", "a:2", "b:1"])),
            }
        )
    return tasks


class Stores(RuleBasedStateMachine):
    """The stores, and the functions that several rules call."""

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
        # Claims in the order in which they were made. Some of the claims may have been lost without an action of the
        # holder.
        self.claims: list[Each] = []
        self.stale: list[Each] = []  # claims that were settled
        for name, made in (("i", self.made(tasks)), ("j", self.made(more))):
            self.ask(lambda store, name=name, made=made: store.add_instance(name, made), any_error=True)

    def teardown(self) -> None:
        for bench in getattr(self, "benches", []):
            assert bench.store.check() == []
            bench.close()

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
            assert answer == answers[0], f"{bench.implementation} says {answer}, not {answers[0]}"
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

    def made(self, tasks: list[dict[str, Any]]) -> list[NewTask]:
        return [self.new_task(**task) for task in tasks]

    def new_task(self, due: tuple[str, int] | None, expires_in: int | None = None, **task: Any) -> NewTask:
        now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.clock.wall_us())
        if expires_in is not None:
            task["expires_at"] = now + timedelta(seconds=expires_in)
        if due is not None and due[0] == "delay":
            task["delay"] = due[1]
        elif due is not None:
            task["available_at"] = now + timedelta(seconds=due[1])
        return NewTask(**task)

    def nobodys_or_one_of(self, nth: int) -> Each:
        """Draw a worker's session, which may have ended, or no session."""
        sessions = [(None,) * len(self.benches), *self.sessions, *self.over_sessions[-1:]]
        return sessions[nth % len(sessions)]

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
