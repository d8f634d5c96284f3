"""Functions and classes that the benchmark cases use to measure."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlite_claims import SqliteClaimStore
from sqlite_claims.sqlite import c_core

from . import ceiling
from .bare import BareLoop
from .pairs import Round, repeated
from .sizes import Sizes
from .stores import WORKER, Stores, opened

ADMITS: dict[str, Any] = {"tags": ["cpu"], "kinds": [""]}


class Bench:
    """The environment of a measurement: sizes, stores, and objects to be closed at the end."""

    def __init__(self, sizes: Sizes, stores: Stores, stack: ExitStack) -> None:
        self.sizes = sizes
        self.stores = stores
        self._stack = stack

    def store(self, path: Path, use_c_core: bool | None = None) -> SqliteClaimStore:
        """Open a store, which is closed at the end of the measurement."""
        return self._stack.enter_context(opened(path, use_c_core))

    def store_that_writes_as_sqlite(self, path: Path) -> SqliteClaimStore:
        """Open a store whose commits the C core doesn't gather into one write."""
        vfs, c_core.vfs = c_core.vfs, lambda: None
        try:
            return self.store(path)
        finally:
            c_core.vfs = vfs

    def looks(self, path: Path, limit: int, use_c_core: bool | None = None, **wanted: Any) -> Round:
        """Return rounds of ``find_available_tasks`` in a store."""
        store = self.store(path, use_c_core)
        store.find_available_tasks(WORKER, limit, **wanted)
        return repeated(lambda: store.find_available_tasks(WORKER, limit, **wanted), self.sizes.looks)

    def tasks(self) -> int:
        """Return the number of tasks that all rounds of cycles complete, plus one, so that the instance doesn't end."""
        return self.sizes.cycles * (self.sizes.rounds + 1) + 1

    def bare(self) -> BareLoop:
        """Return the Python baseline, with a new file."""
        loop = BareLoop(self.stores.new_path(), self.tasks())
        self._stack.callback(loop.close)
        return loop

    def ceiling(self, payload: bytes | None = None) -> ceiling.Ceiling:
        """Return the C baseline, with a new file."""
        loop = ceiling.Ceiling(ceiling.build(self.stores.folder), self.stores.fresh(self.tasks(), payload))
        self._stack.callback(loop.close)
        return loop


def cycle(store: SqliteClaimStore) -> None:
    """Claim a task and complete it."""
    (claimed,) = store.claim_available_tasks(WORKER)
    store.complete_task(claimed.claim)


def batch(store: SqliteClaimStore, size: int) -> None:
    """Claim ``size`` tasks and complete them, in two transactions."""
    if size == 1:
        cycle(store)
        return
    claimed = store.claim_available_tasks(WORKER, size)
    done, lost = store.complete_tasks([(one.claim, b"") for one in claimed])
    if len(done) != size or lost:
        raise RuntimeError(f"completed {len(done)} of {size}")
