"""Small values of the package's limits. With these values, a few tasks are enough to reach every code path: own lanes,
several steps of a pause or prune, several pages of a list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from unittest import mock

from sqlite_claims.sqlite import lanes
from sqlite_claims.sqlite.operations import adding, control, listing, pruning, reading, sweep


@contextmanager
def small_constants(random: Random) -> Iterator[None]:
    """Draw the limits for one history. The original limits are restored after the history."""
    page = random.choice([1, 2, 3, 500])
    drawn = [
        (adding, "OWN_LANES_FROM", random.choice([2, 4, 6, 5000])),
        (lanes, "OWN_MAX", random.choice([1, 2, 6, 32])),
        (sweep, "TASKS_PER_SWEEP", random.choice([1, 2, 1000])),
        (sweep, "REST_US", 0),  # otherwise, the file store would sweep some rows later than the oracle
        (control, "ROWS_PER_MOVE", random.choice([1, 2, 3, 300])),
        (pruning, "TASKS_PER_STEP", random.choice([1, 3, 1000])),
        (reading, "PAGE", page),
        (listing, "PAGE", page),
        (reading, "_COUNT_OWN_MAX", random.choice([0, 10_000])),
    ]
    patches = [mock.patch.object(module, name, value) for module, name, value in drawn]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()
