"""The rules that add and retry tasks."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from .base import Stores, indices, instance_ids, new_tasks


class Tasks(Stores):
    """The rules that add and retry tasks."""

    @rule(name=instance_ids, tasks=st.one_of(st.just([]), new_tasks()), skip=st.booleans(), new=st.booleans())
    def add(self, name: str, tasks: list[dict[str, Any]], skip: bool, new: bool) -> None:
        made, if_exists = self.made(tasks), "skip" if skip else "error"

        def add(store: Any) -> Any:
            if new:
                return store.add_instance(name, made, definition_hash=f"{name}/1", if_exists=if_exists)
            return store.add_tasks(name, made, if_exists=if_exists)

        self.ask(add, any_error=True)

    @rule(nth=indices, states=st.sampled_from([["failed"], ["failed"], ["failed"], None]))
    def retry(self, nth: int, states: list[str] | None) -> None:
        names = self.task_names(nth, states)
        self.ask(lambda store: store.retry_task(*names))
