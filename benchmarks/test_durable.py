"""Tests that the check of syncs detects unsynced completions, in sample logs and with a store that never syncs."""

from __future__ import annotations

import pytest

from . import strace
from .bench import Bench
from .durable import acknowledged_unsynced, traced

WRITE = "7 pwrite64(5</tmp/jobs.db-wal>, ..., 24, 0) = 24"
SYNC = "7 fdatasync(6</tmp/jobs.db-wal>) = 0"
DONE = "7 write(8</tmp/jobs.db-acknowledged>, ..., 1) = 1"
OTHERS_SYNC = ("9 fdatasync(6</tmp/jobs.db-wal> <unfinished ...>", "9 <... fdatasync resumed>) = 0")


@pytest.mark.parametrize(
    ("log", "unsynced"),
    [
        ([WRITE, SYNC, DONE], 0),
        ([WRITE, WRITE, SYNC, DONE, WRITE, SYNC, DONE], 0),
        ([WRITE, OTHERS_SYNC[0], OTHERS_SYNC[1], DONE], 0),
        ([WRITE, DONE, SYNC], 1),
        ([SYNC, WRITE, DONE], 1),
        ([WRITE, SYNC, DONE, WRITE, DONE], 1),
        ([OTHERS_SYNC[0], WRITE, OTHERS_SYNC[1], DONE], 1),
        ([WRITE, OTHERS_SYNC[0], DONE, OTHERS_SYNC[1]], 1),
        ([WRITE, SYNC.replace("= 0", "= -1 EIO (Input/output error)"), DONE], 1),
        ([WRITE, SYNC.replace("-wal", ""), DONE], 1),
        ([WRITE, SYNC, DONE, DONE], 1),
    ],
)
def test_a_completion_counts_as_synced_only_if_a_sync_lies_between(log: list[str], unsynced: int) -> None:
    assert acknowledged_unsynced(strace.calls(log)) == (sum(line == DONE for line in log), unsynced)


@pytest.mark.skipif(not strace.has_strace(), reason="no strace")
def test_a_store_that_does_not_sync_is_found_out(bench: Bench) -> None:
    unsynced, syncs = traced(bench, 2, "process")
    assert unsynced.unit == f"of {unsynced.value:g}"
    assert unsynced.value > 0
    assert syncs.value == 0
