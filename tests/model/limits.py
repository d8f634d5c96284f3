"""The rules that set, remove and list limits."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from .base import Stores

RULES: list[dict[str, Any] | None] = [
    None,
    {"concurrency": 1},
    {"concurrency": 1},
    {"concurrency": 2},
    {"rate": (1, 20)},
    {"rate": (3, 60)},
    {"concurrency": 2, "rate": (2, 30)},
]
"""The bounds of a limit. ``None``: remove the limit."""


class Limits(Stores):
    """The rules that set, remove and list limits."""

    @rule(name=st.sampled_from(["a", "a", "b", "c"]), bounds=st.sampled_from(RULES))
    def set_or_remove_limit(self, name: str, bounds: dict[str, Any] | None) -> None:
        if bounds is None:
            self.ask(lambda store: store.remove_limit(name))
        else:
            self.ask(lambda store: store.set_limit(name, **bounds))

    @rule()
    def list_limits(self) -> None:
        self.ask(lambda store: store.list_limits())
