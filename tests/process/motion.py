"""Measure how long workers wait while a large instance is paused, resumed and cancelled."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlite_claims import InstanceState, NewTask, SqliteClaimStore

from .children import Child, Start

WORKERS = 4
AT_ONCE_MAX = 100_000

# Both programs print their figures at the end: for each named period, the number of calls of each kind, and their
# longest and median duration (ms).
_TELL = """
import json
from statistics import median
took = {}
def timed(what, call):
    began = time.monotonic()
    result = call()
    took.setdefault(what, []).append((began, time.monotonic() - began))
    return result
def tell():
    spans = json.loads(hear())
    say(json.dumps([{
        what: [len(found), max(found, default=0) * 1000, median(found or [0]) * 1000]
        for what, times in took.items()
        for found in [[length for began, length in times if began < end and began + length > start]]
    } for start, end in spans]))
def until_told(work):
    over = threading.Event()
    def listen():
        hear()
        over.set()
    threading.Thread(target=listen, daemon=True).start()
    while not over.is_set():
        work()
"""
_WORKER = """
store = SqliteClaimStore(args[0], durability="process")
def work():
    for each in timed("claim", lambda: store.claim_available_tasks(args[1], 1, 60)):
        held = store.transaction(60)
        tx = timed("lock", held.__enter__)
        tx.renew_task_claims([each.claim], 60)  # the claim is lost if its instance was cancelled
        held.__exit__(None, None, None)
        store.release_tasks([each.claim])
work()
say("ready")
until_told(work)
tell()
store.close()
"""
_LOOKER = """
store = SqliteClaimStore(args[0])
def work():
    timed("find", lambda: store.find_available_tasks("looker", 10))
    timed("stats", store.stats)
work()
say("ready")
until_told(work)
tell()
store.close()
"""

Figures = dict[str, tuple[int, float, float]]
"""For each kind of call: the number of calls, and their longest and median duration (ms)."""


def fill(path: Path, tasks: int, *, ahead: bool) -> None:
    """Add a large instance and two small ones. In the order of tasks, one small instance comes before the large
    instance, and the second small instance comes after it. Unless ``ahead``, all tasks of the first small instance are
    claimed."""
    with SqliteClaimStore(path, durability="process") as store:
        store.add_instance("before", [NewTask(f"t{number}") for number in range(100)])
        if not ahead:
            store.claim_available_tasks("holder", 100, None)
        store.add_instance("large")
        for begin in range(0, tasks, AT_ONCE_MAX):
            numbers = range(begin, min(begin + AT_ONCE_MAX, tasks))
            store.add_tasks("large", [NewTask(f"t{number:07}") for number in numbers])
        store.add_instance("after", [NewTask(f"t{number}") for number in range(100)])


def measure(start: Start, path: Path, quiet_s: float) -> dict[str, tuple[float, Figures]]:
    """Pause, resume and cancel the large instance while four workers claim and one process reads. For each of these
    three calls, return the duration of the call (s) and the figures of the other processes. For comparison, the
    processes first work for ``quiet_s`` seconds without a control call."""
    children = [start(_TELL + _WORKER, path, f"w{number}") for number in range(WORKERS)]
    children.append(start(_TELL + _LOOKER, path))
    for child in children:
        child.says("ready")
    spans: dict[str, tuple[float, float]] = {}

    def note(what: str, call: Callable[[], Any]) -> None:
        began = time.monotonic()
        call()
        spans[what] = began, time.monotonic()

    with SqliteClaimStore(path) as store:
        # this sleep does not synchronize processes, it only sets the length of the measurement
        note("undisturbed", lambda: time.sleep(quiet_s))
        note("pause", lambda: store.pause_instance("large"))
        assert store.get_instance("large").state is InstanceState.PAUSED
        note("resume", lambda: store.resume_instance("large"))
        assert store.get_instance("large").state is InstanceState.IN_PROGRESS
        note("cancel", lambda: store.cancel_instance("large"))
        assert store.get_instance("large").state is InstanceState.CANCELLED
    for child in children:
        child.tell()
    told = [_hear(child, list(spans.values())) for child in children]
    return {
        what: (end - begin, _together([figures[place] for figures in told]))
        for place, (what, (begin, end)) in enumerate(spans.items())
    }


def _hear(child: Child, spans: list[tuple[float, float]]) -> list[Figures]:
    child.tell(json.dumps(spans))
    answer: list[Figures] = json.loads(child.next_line())
    child.end()
    return answer


def _together(several: list[Figures]) -> Figures:
    whats = {what for figures in several for what in figures}
    return {
        what: (
            sum(figures[what][0] for figures in several if what in figures),
            max(figures[what][1] for figures in several if what in figures),
            max(figures[what][2] for figures in several if what in figures),
        )
        for what in sorted(whats)
    }


def shown(measured: dict[str, tuple[float, Figures]]) -> str:
    lines = []
    for what, (took, figures) in measured.items():
        waits = "; ".join(
            f"{call} {number:,} times, {longest:.1f} ms at the longest, {middle:.2f} in the middle"
            for call, (number, longest, middle) in figures.items()
        )
        lines.append(f"{what}: {took:.1f} s; {waits}")
    return "\n".join(lines)
