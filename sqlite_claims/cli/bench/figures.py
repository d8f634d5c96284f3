"""Figures and their baselines. A figure and its baseline are measured alternately, so that a load on the machine
affects both in the same way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

ROUNDS_MIN = 5
_TURN_S = 0.1
Operation = Callable[[], object]


class Quartiles(NamedTuple):
    """The median of samples, and the limits of the middle half of the samples."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured figure: the median of several rounds, the limits of the middle half of the rounds, and the baseline.

    ``ratio``: in each round, the figure is divided by the baseline, and ``ratio`` is the median of these quotients. So
    a load that slows both the figure and the baseline has little effect.
    """

    key: str
    name: str
    value: float
    unit: str
    low: float
    high: float
    baseline: str = ""
    baseline_value: float | None = None
    ratio: float | None = None


def quartiles(samples: Sequence[float]) -> Quartiles:
    """Return the median of the samples, and the limits of the middle half of the samples."""
    if len(samples) == 1:
        return Quartiles(samples[0], samples[0], samples[0])
    low, median, high = statistics.quantiles(samples, method="inclusive")
    return Quartiles(low, median, high)


def make_figure(
    key: str,
    name: str,
    samples: Sequence[float],
    *,
    unit: str,
    baseline: str = "",
    baseline_samples: Sequence[float] = (),
) -> Figure:
    """Make a figure from the samples of all rounds, and from the baseline's samples in the same rounds, if any."""
    low, value, high = quartiles(samples)
    baseline_value = ratio = None
    if baseline_samples:
        baseline_value = statistics.median(baseline_samples)
        ratio = statistics.median(ours / other for ours, other in zip(samples, baseline_samples, strict=True))
    return Figure(
        key=key,
        name=name,
        value=value,
        unit=unit,
        low=low,
        high=high,
        baseline=baseline,
        baseline_value=baseline_value,
        ratio=ratio,
    )


def percentile_99(samples: Sequence[float]) -> float:
    """Return the 99th percentile of the samples."""
    return sorted(samples)[min(int(len(samples) * 0.99), len(samples) - 1)]


def measure_rate(operation: Operation, *, seconds: float, per_call: int = 1) -> float:
    """Return the units of work that were done per second. Each call of the operation does ``per_call`` units."""
    calls, began = 0, time.perf_counter()
    while True:
        operation()
        calls += 1
        took = time.perf_counter() - began
        if took >= seconds:
            return calls * per_call / took


def compare(
    key: str,
    name: str,
    operation: Operation,
    baseline: str,
    baseline_operation: Operation,
    *,
    seconds: float,
    per_call: int = 1,
    before: Operation = lambda: None,
) -> Figure:
    """Measure the rates of an operation and of its baseline alternately.

    ``before`` is called before each round. The time that ``before`` takes is not measured.
    """
    rounds = rounds_in(seconds, 2)
    operations = (operation, baseline_operation)
    rates: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        before()
        for which in (0, 1) if turn % 2 else (1, 0):
            rate = measure_rate(operations[which], seconds=seconds / (2 * rounds) if turn else 0.0, per_call=per_call)
            if turn:  # the first round is only a warm-up
                rates[which].append(rate)
    return make_figure(key, name, rates[0], unit="/s", baseline=baseline, baseline_samples=rates[1])


def rounds_in(seconds: float, turns: int) -> int:
    """Return the number of rounds, with ``turns`` turns each, that fit into ``seconds``."""
    return max(ROUNDS_MIN, round(seconds / turns / _TURN_S))
