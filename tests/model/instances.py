"""The rules that control and remove instances."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from .base import Stores, instance_ids


class Instances(Stores):
    """The rules that control and remove instances."""

    @rule(name=instance_ids, signal=st.sampled_from(["pause", "pause", "resume", "resume", "resume", "cancel"]))
    def signal(self, name: str, signal: str) -> None:
        self.ask(lambda store: getattr(store, f"{signal}_instance")(name))

    @precondition(lambda self: self.now_and_then(4))
    @rule(older_than=st.sampled_from([0, 30]), limit=st.sampled_from([1, 1000]))
    def prune(self, older_than: int, limit: int) -> None:
        pruned = self.ask(lambda store: store.prune(older_than, limit=limit))
        if pruned is not None and pruned[0]:
            # A prune changes the token at which the remaining tasks continue. The oracle uses this token at once, but a
            # process reads it only at its start. In both stores, later tokens of a task are larger.
            self.restart("process ends")
