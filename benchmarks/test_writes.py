"""Tests that each system call is counted for the operation that made it."""

from __future__ import annotations

from collections import Counter

import pytest

from . import strace
from .bench import Bench
from .writes import between_marks, traced

MARK = "7 write(8</tmp/jobs.db-marks>, ..., 1) = 1"
LOCK = "7 fcntl(5</tmp/jobs.db>, F_SETLK, {l_type=F_RDLCK, l_whence=SEEK_SET, l_start=123, l_len=1}) = 0"
SYNC = "7 fdatasync(6</tmp/jobs.db-wal>) = 0"


def test_calls_of_the_marking_thread_between_two_marks_are_counted() -> None:
    others = SYNC.replace("7", "9", 1)
    log = [LOCK, MARK, LOCK, SYNC, others, LOCK, MARK, SYNC, "7 +++ exited with 0 +++", MARK, MARK]
    assert list(between_marks(strace.calls(log))) == [Counter(fcntl=2, fdatasync=1), Counter()]


def test_a_call_that_another_thread_came_between_is_one_call() -> None:
    log = [
        MARK,
        "7 fcntl(5</tmp/jobs.db> <unfinished ...>",
        "9 getpid() = 9",
        "7 <... fcntl resumed>, {...}) = 0",
        MARK,
    ]
    assert list(between_marks(strace.calls(log))) == [Counter(fcntl=1)]


@pytest.mark.skipif(not strace.has_strace(), reason="no strace")
def test_only_what_must_last_waits_for_the_disk(bench: Bench) -> None:
    find, claim, renew, complete, durable, *_ = traced(bench, "ours")
    assert "pwrite64" not in find
    assert all("fdatasync" not in calls for calls in (find, claim, renew, complete))
    assert durable["fdatasync"] == 1
