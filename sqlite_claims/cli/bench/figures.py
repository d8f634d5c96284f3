"""Figures and their yardsticks, taken in turn so that whatever else the machine does falls on both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ROUNDS_MIN = 5
_TURN_S = 0.1
Operation = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of some rounds, and between what the middle half of them lies; and what stands ``beside`` it.

    ``ratio`` is the median of the ratios of neighbouring rounds: what slows both falls out of it.
    """

    key: str
    name: str
    value: float
    unit: str
    low: float
    high: float
    beside: str = ""
    beside_value: float | None = None
    ratio: float | None = None


def middle(samples: Sequence[float]) -> tuple[float, float, float]:
    """Between what the middle half of the samples lies, and their median in between."""
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    low, median, high = statistics.quantiles(samples, method="inclusive")
    return low, median, high


def figure(
    key: str, name: str, samples: Sequence[float], unit: str, beside: str = "", others: Sequence[float] = ()
) -> Figure:
    """``others``: of the yardstick, in the same rounds."""
    low, value, high = middle(samples)
    if not others:
        return Figure(key, name, value, unit, low, high, beside)
    ratio = statistics.median(ours / other for ours, other in zip(samples, others, strict=True))
    return Figure(key, name, value, unit, low, high, beside, statistics.median(others), ratio)


def quantile(samples: Sequence[float], share: float) -> float:
    """The sample that this share of them does not exceed."""
    return sorted(samples)[min(int(len(samples) * share), len(samples) - 1)]


def rate(operation: Operation, seconds: float, each: int = 1) -> float:
    """How much gets done in a second, ``each`` by a call."""
    calls, began = 0, time.perf_counter()
    while True:
        operation()
        calls += 1
        took = time.perf_counter() - began
        if took >= seconds:
            return calls * each / took


def side_by_side(
    key: str,
    name: str,
    seconds: float,
    ours: Operation,
    beside: str,
    other: Operation,
    each: int = 1,
    before: Callable[[], object] = lambda: None,
) -> Figure:
    """How much gets done in a second, of ours and of a yardstick, in turn; ``before`` each turn, untimed."""
    rounds = rounds_in(seconds, 2)
    rates: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        before()
        for which in (0, 1) if turn % 2 else (1, 0):
            measured = rate((ours, other)[which], seconds / (2 * rounds) if turn else 0.0, each)
            if turn:  # the first does what is only done once
                rates[which].append(measured)
    return figure(key, name, rates[0], "/s", beside, rates[1])


def rounds_in(seconds: float, turns: int) -> int:
    """How many rounds of so many turns each."""
    return max(ROUNDS_MIN, round(seconds / turns / _TURN_S))
