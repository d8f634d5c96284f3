"""The rules that add and retry tasks."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sqlite_claims import RetryPolicy

from .base import Stores, indices, instance_ids, new_tasks


class Tasks(Stores):
    """The rules that add and retry tasks."""

    @rule(
        name=st.one_of(instance_ids, st.just("e")),
        tasks=st.one_of(st.just([]), new_tasks()),
        skip=st.booleans(),
        new=st.booleans(),
    )
    def add(self, name: str, tasks: list[dict[str, Any]], skip: bool, new: bool) -> None:
        made, if_exists = self.made(tasks), "skip" if skip else "error"

        def add(store: Any) -> Any:
            if new:
                return store.add_instance(name, made, definition_hash=f"{name}/1", if_exists=if_exists)
            return store.add_tasks(name, made, if_exists=if_exists)

        self.ask(add, any_error=True)

    @rule(
        name=st.one_of(instance_ids, st.sampled_from(["e", "f"])),
        key=st.sampled_from([None, "k", "l"]),
        expires_in=st.sampled_from([None, 20]),
        skip=st.booleans(),
    )
    def enqueue(self, name: str, key: str | None, expires_in: int | None, skip: bool) -> None:
        expires_at = self.new_task(None, expires_in, task_id="t").expires_at
        retry = RetryPolicy(10, 2, 60, 0)
        self.ask(
            lambda store: store.enqueue(
                "x",
                instance_id=name,
                if_exists="skip" if skip else "error",
                unique_key=key,
                expires_at=expires_at,
                retry=retry,
            )
        )

    @rule(nth=indices, states=st.sampled_from([["failed"], ["failed"], ["failed"], None]))
    def retry(self, nth: int, states: list[str] | None) -> None:
        names = self.task_names(nth, states)
        self.ask(lambda store: store.retry_task(*names))
