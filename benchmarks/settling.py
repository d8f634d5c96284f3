"""The time of searches for work that also sweep tasks of higher priority. The worker can't claim the swept tasks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from sqlite_claims import SqliteClaimStore
from sqlite_claims.sqlite.database import Database
from sqlite_claims.sqlite.operations import control, sweep
from sqlite_claims.testing import ManualClock

from . import pairs
from .bench import ADMITS, Bench
from .pairs import Figure, Target, figure
from .stores import CHUNK, WORKER, fill, for_tag

_TTL_S = 10.0
_AHEAD = "ahead"
# A round ends after ``_ROUND_S_MAX`` seconds, but not before ``_LOOKS_MIN`` searches.
_ROUND_S_MAX = 2.0
_LOOKS_MIN = 5


def figures(bench: Bench) -> Iterator[Figure]:
    """Compare the median time of a search during the sweep with that of a search with nothing to sweep."""
    number = bench.sizes.settled
    nothing = _made(bench, "nothing", lambda _: None)
    for name, ahead, step in (
        (f"{number:,} expired claims", partial(_claimed, number, 5), 0),
        (f"{number:,} expired last claims", partial(_claimed, number, 1), sweep.TASKS_PER_SWEEP),
        (f"{number:,} tasks being paused", partial(_moving, number, control.pause), control.ROWS_PER_MOVE),
        (f"{number:,} tasks being cancelled", partial(_moving, number, _cancel), control.ROWS_PER_MOVE),
    ):
        path = _made(bench, name, ahead)
        # If each search sweeps some tasks, the number of searches is limited so that half of the tasks are left at the
        # end.
        looks = min(bench.sizes.looks, number // step // 2 if step else bench.sizes.looks)
        taken = [_round(bench, path, nothing, looks, settles=step > 0) for _ in range(bench.sizes.long_rounds)]
        ratios = [behind / base for behind, base in taken]
        detail = {"behind_us": [behind * 1e6 for behind, _ in taken], "nothing_us": [base * 1e6 for _, base in taken]}
        yield figure(f"find(10), behind {name} / none", ratios, "x", Target(2), detail)


def _made(bench: Bench, name: str, ahead: Callable[[SqliteClaimStore], None]) -> Path:
    def make(store: SqliteClaimStore) -> None:
        ahead(store)
        fill(store, "ready", bench.sizes.few, for_tag("cpu"))

    return bench.stores.made(f"behind-{name.replace(' ', '-')}", make, ManualClock())


def _claimed(number: int, max_lost: int, store: SqliteClaimStore) -> None:
    fill(store, _AHEAD, number, for_tag("cpu", 1, max_lost))
    while store.claim_available_tasks("gone", CHUNK, _TTL_S):
        pass


def _moving(number: int, signal: Callable[..., bool], store: SqliteClaimStore) -> None:
    """Put the store into the state right after a pause, resume or cancel, before the row of any task is updated."""
    fill(store, _AHEAD, number, for_tag("cpu", 1))
    store._db.write(signal, False, _AHEAD)


def _cancel(db: Database, instance_id: str) -> bool:
    return control.cancel(db, instance_id, None)


def _round(bench: Bench, path: Path, nothing: Path, looks: int, *, settles: bool) -> tuple[float, float]:
    """Return the median seconds of a search during the sweep, and of a search with nothing to sweep, timed in turn."""
    copy = bench.stores.copy_of(path)
    clock = ManualClock()
    clock.advance(2 * _TTL_S)
    taken: list[tuple[float, float]] = []
    with ExitStack() as stack:
        both = [
            stack.enter_context(SqliteClaimStore(each, durability="process", clock=clock)) for each in (copy, nothing)
        ]
        for store in both:  # warm-up: prepare the statements and load the lanes
            store.find_available_tasks(WORKER, 10, **ADMITS)
        enough = time.monotonic() + _ROUND_S_MAX
        while len(taken) < looks and (len(taken) < _LOOKS_MIN or time.monotonic() < enough):
            taken.append((_look(both[0]), _look(both[1])))
        if settles and not any(both[0]._db.read(sweep.sweep_state)[2:]):
            raise RuntimeError(f"{path.name}: all was settled before the end")
    copy.unlink()
    behind, base = zip(*taken, strict=True)
    return statistics.median(behind), statistics.median(base)


def _look(store: SqliteClaimStore) -> float:
    began = pairs.clock()
    found = store.find_available_tasks(WORKER, 10, **ADMITS)
    taken = pairs.clock() - began
    if len(found) != 10:
        raise RuntimeError(f"found {len(found)} of 10")
    return taken
