"""The operations that wait for a change."""

from __future__ import annotations

import time

from ...backend import Kinds, Tags
from .base import MemoryStoreOperations

# A waiting thread checks again after this time, because a test that sets a simulated clock wakes no thread.
_POLL_S = 0.02


class MemoryStoreWaiting(MemoryStoreOperations):
    """The operations of ``StoreWaitingBackend``."""

    def any_available(self, *, tags: Tags, kinds: Kinds) -> bool:
        with self._engine(writes=False) as engine:
            engine.sweep()
            return any(True for _ in engine.available(frozenset(tags), kinds))

    def ready_number(self) -> int:
        return self.commit_number()

    def wait_ready(self, number: int, *, tags: Tags, kinds: Kinds, timeout_s: float) -> None:  # noqa: ARG002 - polls
        self.wait_commit(number, timeout_s=timeout_s)

    def commit_number(self) -> int:
        with self._engine(writes=False):
            return self._commits

    def wait_commit(self, number: int, *, timeout_s: float) -> None:
        with self._engine(writes=False):
            if self._commits != number:
                return
            if not self.in_transaction:
                self.changed.wait(min(timeout_s, _POLL_S))
            else:  # inside a transaction, a wait on the condition would release the lock
                time.sleep(min(timeout_s, _POLL_S))
