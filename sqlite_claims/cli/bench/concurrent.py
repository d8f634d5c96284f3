"""Measurements with several processes that share a store, and of the time until a waiting process wakes up."""

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
from ...sqlite.store import SqliteClaimStore
from .child import FULL_DB, PROCESS_DB, WAKE_DB, ClaimTimes
from .figures import Figure, make_figure, percentile_99, rounds_in
from .single import add_tasks, sync_seconds

_TASKS_PER_ADD = 1000
# A rate, in tasks per second, that all processes together cannot reach.
_RATE_MAX = 100_000
# Delay between the sending of an instruction and the time when all processes start.
_START_DELAY_S = 0.02
# The fraction of each round in which all processes work. In the rest of the round, only one process works.
_CONCURRENT_SHARE = 0.75
_WAKES_MIN = 20
_WAKE_TIMEOUT_S = 30.0


class Child:
    """A child process that executes instructions until the ``with`` block ends."""

    def __init__(self, folder: str) -> None:
        # The child has its own OS session, so that Ctrl-C ends only the parent. The parent then ends the child.
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

    def send(self, instruction: str, *values: float) -> None:
        """Send an instruction to the child process."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join([instruction, *map(str, values)]) + "\n")
        self._process.stdin.flush()

    def receive_word(self) -> str:
        """Return the next answer, which is a word."""
        return str(self._receive())

    def receive_time(self) -> float:
        """Return the next answer, which is a time of the steady clock."""
        at = self._receive()
        if at is None:
            raise BackendError(f"a waiting process got no task within {_WAKE_TIMEOUT_S:.0f} s")
        return float(at)

    def receive_claim_times(self) -> ClaimTimes:
        """Return the next answer, which contains the durations of claims."""
        return ClaimTimes(*self._receive())

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BackendError("a process of the benchmark has died; its error is above")
        return json.loads(line)


def figures(folder: str, *, seconds: float, processes: int) -> Iterator[Figure]:
    """Yield the measured figures. The measurements take about ``seconds``, plus the time to start the processes."""
    names = count()
    with ExitStack() as stack:
        # The parent creates the files before it starts the children. Otherwise all children would try to create the
        # files.
        by_process, by_full, to_wake = (
            stack.enter_context(SqliteClaimStore(os.path.join(folder, name), durability="process"))
            for name in (PROCESS_DB, FULL_DB, WAKE_DB)
        )
        children = [stack.enter_context(Child(folder)) for _ in range(processes)]
        for child in children:
            child.receive_word()
        rounds = _measure_rounds(by_process, children, "process", names, seconds=seconds * 0.4)
        yield make_figure(
            "crowd",
            f"claim and complete, {processes} processes",
            _rates(rounds.concurrent),
            unit="/s",
            baseline="one process",
            baseline_samples=_rates(rounds.single),
        )
        shares = [turn.slowest_share for turn in rounds.concurrent]
        yield make_figure("crowd_slowest", "  slowest process / fastest process", shares, unit="")
        waits = [percentile_99(turn.claims_ms) for turn in rounds.concurrent]
        yield make_figure("crowd_claim_p99", "  99th percentile of a claim", waits, unit="ms")

        disk_rates: list[float] = []
        rounds = _measure_rounds(
            by_full,
            children,
            "full",
            names,
            seconds=seconds * 0.4,
            before=lambda: disk_rates.append(1 / statistics.median(sync_seconds(folder))),
        )
        for key, number, turns in (
            ("durable_one", 1, rounds.single),
            ("durable_many", processes, rounds.concurrent),
        ):
            yield make_figure(
                key,
                f"durable completions, {number} process{'es' * (number > 1)}",
                _rates(turns),
                unit="/s",
                baseline="disk syncs",
                baseline_samples=disk_rates[1:],
            )
        yield from _wake_figures(to_wake, children[0], names, seconds=seconds * 0.2)


@dataclass(frozen=True, slots=True)
class Turn:
    """The result of a turn, in which one process, or several processes at the same time, have worked."""

    rate: float
    slowest_share: float
    claims_ms: list[float]


@dataclass(frozen=True, slots=True)
class Rounds:
    """The turns in which one process worked, and the turns in which all processes worked."""

    single: list[Turn]
    concurrent: list[Turn]


def _rates(turns: list[Turn]) -> list[float]:
    return [turn.rate for turn in turns]


def _measure_turn(children: list[Child], instruction: str, seconds: float) -> Turn:
    start = time.monotonic() + _START_DELAY_S
    for child in children:
        child.send(instruction, start, start + seconds)
    answers = [child.receive_claim_times() for child in children]
    rates = [len(answer.claims_ms) / answer.seconds for answer in answers]
    claims_ms = [claim_ms for answer in answers for claim_ms in answer.claims_ms]
    return Turn(sum(rates), min(rates) / max(rates), claims_ms)


def _measure_rounds(
    store: SqliteClaimStore,
    children: list[Child],
    instruction: str,
    names: Iterator[int],
    *,
    seconds: float,
    before: Callable[[], object] = lambda: None,
) -> Rounds:
    """Measure one process and all processes alternately. The result excludes the first round.

    ``before`` is called before each round.
    """
    number = rounds_in(seconds, 4)
    round_s = seconds / number
    rounds = Rounds([], [])
    for _ in range(number + 1):
        before()
        for group, turns, turn_s in (
            (children[:1], rounds.single, round_s * (1 - _CONCURRENT_SHARE)),
            (children, rounds.concurrent, round_s * _CONCURRENT_SHARE),
        ):
            needed = round(_RATE_MAX * turn_s) + _TASKS_PER_ADD
            for _ in range(store.stats().counts[TaskState.READY], needed, _TASKS_PER_ADD):
                add_tasks(store, _TASKS_PER_ADD, names)
            turns.append(_measure_turn(group, instruction, turn_s))
    return Rounds(rounds.single[1:], rounds.concurrent[1:])


def _wake_figures(store: SqliteClaimStore, child: Child, names: Iterator[int], *, seconds: float) -> Iterator[Figure]:
    """Measure the time from the call that adds a task until a waiting process has claimed the task."""
    wakes_ms: list[float] = []
    pings_ms: list[float] = []
    until = time.monotonic() + seconds
    while len(wakes_ms) < _WAKES_MIN or time.monotonic() < until:
        child.send("wake", _WAKE_TIMEOUT_S)
        child.receive_word()
        _sleep_briefly()  # at that time, the child waits for its first instruction
        began = time.monotonic()
        add_tasks(store, 1, names)
        wakes_ms.append((child.receive_time() - began) * 1e3)
        _sleep_briefly()
        began = time.monotonic()
        child.send("ping")
        pings_ms.append((child.receive_time() - began) * 1e3)
    yield make_figure(
        "wake",
        "wake-up, from adding to claiming",
        wakes_ms,
        unit="ms",
        baseline="a byte through a pipe",
        baseline_samples=pings_ms,
    )
    yield make_figure("wake_p99", "  99th percentile", [percentile_99(wakes_ms)], unit="ms")


def _sleep_briefly() -> None:
    """Sleep for a random time, so that a timer of the system does not affect all measurements in the same way."""
    time.sleep(random.uniform(0.001, 0.003))
