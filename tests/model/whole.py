"""The rules for the aging interval, for the sessions of workers and for transactions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sqlite_claims import BackendError

from .base import Stores, indices, instance_ids, new_tasks, worker_ids


class WholeStore(Stores):
    """The rules for the aging interval, for the sessions of workers and for transactions."""

    @precondition(lambda self: self.now_and_then(3))
    @rule(interval=st.sampled_from([None, 10, 25, 3600]))
    def age(self, interval: int | None) -> None:
        self.ask(lambda store: store.set_aging_interval(interval))
        self.ask(lambda store: store.aging_interval)

    @rule(what=st.sampled_from(["open", "open", "close", "die"]), nth=indices)
    def a_worker_comes_or_goes(self, what: str, nth: int) -> None:
        if what == "open":
            self.sessions.append(tuple(bench.store.open_session("s") for bench in self.benches))
        elif self.sessions:
            self.end(self.sessions.pop(nth % len(self.sessions)), die=what == "die")

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
