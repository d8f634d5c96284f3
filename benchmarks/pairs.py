"""Two things timed in turn, so that whatever else the machine does falls on both alike, and what became of targets."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Round = Callable[[], float]
"""Runs one round and returns the seconds that one operation took."""


def repeated(operation: Callable[[], object], count: int, per_call: int = 1) -> Round:
    """A round of ``count`` calls, each of which does the operation ``per_call`` times."""

    def round() -> float:
        began = time.perf_counter()
        for _ in range(count):
            operation()
        return (time.perf_counter() - began) / count / per_call

    return round


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for a figure. ``None``: there is none, the figure is for information."""

    bound: float | None = None
    sense: Literal["at most", "at least"] = "at most"

    def met_by(self, value: float) -> bool | None:
        """Whether a figure keeps to it."""
        if self.bound is None:
            return None
        return value <= self.bound if self.sense == "at most" else value >= self.bound

    def __str__(self) -> str:
        return "" if self.bound is None else f"{'≤' if self.sense == 'at most' else '≥'} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report."""

    name: str
    value: float
    unit: str
    target: Target
    low: float  # of the rounds
    high: float
    detail: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        return asdict(self) | {"met": self.target.met_by(self.value)}


def interleaved(rounds: dict[str, Round], count: int) -> dict[str, list[float]]:
    """Run each of the rounds in turn, ``count`` times, after one turn that doesn't count."""
    taken: dict[str, list[float]] = {name: [] for name in rounds}
    for turn in range(count + 1):
        for name, round in rounds.items():
            seconds = round()
            if turn > 0:
                taken[name].append(seconds)
    return taken


def compare(name: str, count: int, ours: Round, other: Round, target: Target, *, rate: bool = False) -> Figure:
    """The ratio of two times or, ``rate``, of what gets done in a second. The figure is the median of the ratios of
    neighbouring rounds: what slows both falls out of it."""
    taken = interleaved({"ours": ours, "other": other}, count)
    pairs = zip(taken["ours"], taken["other"], strict=True)
    ratios = [b / a if rate else a / b for a, b in pairs]
    detail = {f"{side}_us": [round(seconds * 1e6, 3) for seconds in taken[side]] for side in taken}
    return Figure(name, statistics.median(ratios), "x", target, min(ratios), max(ratios), detail)


def timed(name: str, count: int, ours: Round, target: Target) -> Figure:
    """Microseconds an operation takes."""
    taken = [seconds * 1e6 for seconds in interleaved({"ours": ours}, count)["ours"]]
    return Figure(
        name,
        statistics.median(taken),
        "µs",
        target,
        min(taken),
        max(taken),
        {"ours_us": [round(us, 3) for us in taken]},
    )
