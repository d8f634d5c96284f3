"""What several processes do on one store, and how soon one that sleeps is woken."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

from ...errors import BackendError
from ...model import TaskState
from ...store import SqliteClaimStore
from .child import STORES
from .figures import Figure, figure, quantile, rounds_in
from .single import add, syncs

_CHUNK = 1000
# Tasks a second that no crowd gets through.
_RATE_MAX = 100_000
# Until all have heard that they are to begin, which they then do at the same moment.
_START_S = 0.02
# Of each round a crowd has this share, and one process alone the rest.
_TOGETHER = 0.75
_WAKES_MIN = 20
_WAKE_TIMEOUT_S = 30.0


class Child:
    """A process that does what it is told, and is gone when its ``with`` block is left."""

    def __init__(self, folder: str) -> None:
        # In a session of its own, so that Ctrl-C ends the parent, which ends it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.child", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with self._process:
            pass

    def tell(self, what: str, *values: float) -> None:
        """What to do now."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join([what, *map(str, values)]) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Its next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BackendError("a process of the crowd has died; what it said is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def figures(folder: str, seconds: float, processes: int) -> Iterator[Figure]:
    """In about so many seconds, and what it takes to start the processes."""
    names = count()
    with ExitStack() as stack:
        # Made before the children are, which would race for it.
        stores = {
            what: stack.enter_context(SqliteClaimStore(os.path.join(folder, name), durability="process"))
            for what, name in {**STORES, "wake": "sleepy.db"}.items()
        }
        children = [stack.enter_context(Child(folder)) for _ in range(processes)]
        for child in children:
            child.hear()
        alone, together = _rounds(stores["process"], children, "process", seconds * 0.4, names)
        title = f"{processes} processes, one at a time"
        yield figure("crowd", title, _rates(together), "/s", "one process", _rates(alone))
        shares = [turn.slowest for turn in together]
        yield figure("crowd_slowest", "  the slowest of them, of the fastest", shares, "")
        waits = [quantile(turn.claims_ms, 0.99) for turn in together]
        yield figure("crowd_claim_p99", "  99 of 100 claims take at most", waits, "ms")
        disk: list[float] = []
        alone, together = _rounds(
            stores["full"],
            children,
            "full",
            seconds * 0.4,
            names,
            before=lambda: disk.append(1 / statistics.median(syncs(folder))),
        )
        for key, number, turns in (("durable_one", 1, alone), ("durable_many", processes, together)):
            title = f"durable completions, {number} process{'es' * (number > 1)}"
            yield figure(key, title, _rates(turns), "/s", "syncs of the disk in turn", disk[1:])
        yield from _wake(stores["wake"], children[0], seconds * 0.2, names)


@dataclass(frozen=True, slots=True)
class Turn:
    """What some processes did at the same time."""

    rate: float
    slowest: float
    claims_ms: list[float]


def _rates(turns: list[Turn]) -> list[float]:
    return [turn.rate for turn in turns]


def _turn(children: list[Child], what: str, length: float) -> Turn:
    start = time.monotonic() + _START_S
    for child in children:
        child.tell(what, start, start + length)
    answers = [child.hear() for child in children]
    rates = [len(answer["claims_ms"]) / answer["seconds"] for answer in answers]
    claims = [taken for answer in answers for taken in answer["claims_ms"]]
    return Turn(sum(rates), min(rates) / max(rates), claims)


def _rounds(
    store: SqliteClaimStore,
    children: list[Child],
    what: str,
    seconds: float,
    names: Iterator[int],
    before: Callable[[], object] = lambda: None,
) -> tuple[list[Turn], list[Turn]]:
    """One process, and all of them, in turn, ``before`` each round; the first of these doesn't count."""
    rounds = rounds_in(seconds, 4)
    each = seconds / rounds
    alone: list[Turn] = []
    together: list[Turn] = []
    for _ in range(rounds + 1):
        before()
        for group, turns, length in (
            (children[:1], alone, each * (1 - _TOGETHER)),
            (children, together, each * _TOGETHER),
        ):
            for _ in range(store.stats().counts[TaskState.READY], round(_RATE_MAX * length) + _CHUNK, _CHUNK):
                add(store, _CHUNK, names)
            turns.append(_turn(group, what, length))
    return alone[1:], together[1:]


def _wake(store: SqliteClaimStore, child: Child, seconds: float, names: Iterator[int]) -> Iterator[Figure]:
    """From the call that adds a task until a process that slept has claimed it; beside what a pipe takes."""
    wakes: list[float] = []
    pings: list[float] = []
    until = time.monotonic() + seconds
    while len(wakes) < _WAKES_MIN or time.monotonic() < until:
        child.tell("wake", _WAKE_TIMEOUT_S)
        child.hear()
        time.sleep(random.uniform(0.001, 0.003))  # until it sleeps, at no fixed distance
        began = time.monotonic()
        add(store, 1, names)
        wakes.append((child.hear()["at"] - began) * 1e3)
        time.sleep(random.uniform(0.001, 0.003))
        began = time.monotonic()
        child.tell("ping")
        pings.append((child.hear()["at"] - began) * 1e3)
    yield figure("wake", "wake-up: added here, claimed by one that slept", wakes, "ms", "a byte by a pipe", pings)
    yield figure("wake_p99", "  99 of 100 take at most", [quantile(wakes, 0.99)], "ms")
