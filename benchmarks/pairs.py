"""Targets, and functions that time two operations in turn, so that other work of the machine slows both equally."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

K = TypeVar("K")
T = TypeVar("T")

clock: Callable[[], float] = time.perf_counter
"""The clock that measures times.

With ``--cpu``, this clock is replaced by processor time, which is more exact on a busy machine but doesn't include
waits for the disk.
"""
Round = Callable[[], float]
"""A function that runs one round and returns the average time of one operation in seconds."""


def repeated(operation: Callable[[], object], count: int, per_call: int = 1) -> Round:
    """Return a round of ``count`` calls. Each call performs the operation ``per_call`` times."""

    def round() -> float:
        began = clock()
        for _ in range(count):
            operation()
        return (clock() - began) / count / per_call

    return round


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for a figure. ``None``: the figure has no bound and is only for information."""

    bound: float | None = None
    sense: Literal["at most", "at least"] = "at most"

    def met_by(self, value: float) -> bool | None:
        """Return whether a figure meets the bound; ``None``: there is no bound."""
        if self.bound is None:
            return None
        return value <= self.bound if self.sense == "at most" else value >= self.bound

    def __str__(self) -> str:
        return "" if self.bound is None else f"{'≤' if self.sense == 'at most' else '≥'} {self.bound:g}"


NONE = Target()


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report: the median of some rounds, and the bounds of the middle half of these rounds."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    target: Target
    detail: dict[str, Any]
    case: str = ""  # the benchmark case of the figure

    def as_json(self) -> dict[str, Any]:
        """Return the figure as a dictionary, for the file of results."""
        return asdict(self) | {"met": self.target.met_by(self.value)}


def figure(
    name: str, samples: list[float], unit: str, target: Target = NONE, detail: dict[str, Any] | None = None
) -> Figure:
    """Combine the results of the rounds into one figure."""
    low, value, high = statistics.quantiles(samples, method="inclusive") if len(samples) > 1 else samples * 3
    return Figure(name, value, unit, low, high, target, detail or {})


def interleaved(rounds: Mapping[K, Callable[[], T]], count: int, warm_up: int = 1) -> dict[K, list[T]]:
    """Run each of the rounds in turn, ``count`` times, after ``warm_up`` turns whose results are ignored.

    The order changes from turn to turn, because a round that writes much to the disk slows the next round.
    """
    taken: dict[K, list[T]] = {name: [] for name in rounds}
    for turn in range(count + warm_up):
        for name in random.Random(turn).sample(list(rounds), len(rounds)):
            result = rounds[name]()
            if turn >= warm_up:
                taken[name].append(result)
    return taken


def compare(name: str, count: int, ours: Round, other: Round, target: Target = NONE, *, rate: bool = False) -> Figure:
    """Return the ratio of two times or, with ``rate``, of two numbers of operations per second.

    The figure is the median of the ratios of neighbouring rounds, so a slowdown that affects both rounds has no effect
    on the figure.
    """
    taken = interleaved({"ours": ours, "other": other}, count)
    return figure(name, ratios(taken["ours"], taken["other"], rate=rate), "x", target, microseconds(taken))


def ratios(ours: list[float], other: list[float], *, rate: bool) -> list[float]:
    """Return the ratios of the times of neighbouring rounds; with ``rate``, of their speeds."""
    return [b / a if rate else a / b for a, b in zip(ours, other, strict=True)]


def percentile(ordered: list[float], percent: float) -> float:
    """Return the value that ``percent`` percent of the values don't exceed. ``ordered``: the values, ascending."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def microseconds(taken: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return times in microseconds, for the details of a figure."""
    return {f"{name}_us": [round(seconds * 1e6, 2) for seconds in samples] for name, samples in taken.items()}


def timed(name: str, count: int, ours: Round, target: Target = NONE) -> Figure:
    """Measure the time of one operation in microseconds."""
    taken = interleaved({"ours": ours}, count)["ours"]
    return figure(name, [seconds * 1e6 for seconds in taken], "µs", target)
