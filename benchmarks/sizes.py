"""How much of everything: enough to be timed, or just enough to show that a benchmark still runs."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of tasks, lanes and repetitions."""

    few: int  # ready tasks in the smallest, the middle and the largest store
    many: int
    most: int
    ineligible: int  # tasks of higher priority that the worker may not take
    not_yet: int  # tasks that are delayed, and as many that are held
    settled: int  # tasks that are being settled while somebody looks for others; some thousand
    lanes: int
    batch: int  # tasks claimed at a time, where it is not one
    added: int  # tasks added in one call
    looks: int  # calls of find_available_tasks in a round
    cycles: int  # tasks claimed and completed in a round
    rounds: int
    processes: tuple[int, ...]  # in a crowd
    span: float  # seconds that a crowd works in a round
    tasks_a_second: int  # more than a crowd can do
    tail: int  # cycles of which the slowest count
    wakes: int  # tasks that are waited for, in a round
    idle: float  # seconds of waiting in vain
    written: int  # tasks of which is told what they cost the system
    long_rounds: int  # rounds of what takes seconds
    watched: float  # seconds for which workers without work, or with long tasks, are watched


FULL = Sizes(
    few=1_000,
    many=100_000,
    most=1_000_000,
    ineligible=300_000,
    not_yet=50_000,
    settled=100_000,
    lanes=200,
    batch=50,
    added=20_000,
    looks=300,
    cycles=1_000,
    rounds=15,
    processes=(1, 2, 4, 8, 16),
    span=2.0,
    tasks_a_second=40_000,
    tail=30_000,
    written=10_000,
    wakes=500,
    idle=20.0,
    long_rounds=5,
    watched=60.0,
)
# As large as stores get; made in minutes.
HUGE = replace(FULL, most=10_000_000, ineligible=1_000_000, settled=1_000_000)
SMOKE = Sizes(
    few=20,
    many=30,
    most=40,
    ineligible=30,
    not_yet=20,
    settled=2_500,
    lanes=5,
    batch=5,
    added=20,
    looks=2,
    cycles=10,
    rounds=1,
    processes=(1, 2),
    span=0.05,
    tasks_a_second=100_000,
    tail=20,
    written=50,
    wakes=5,
    idle=0.2,
    long_rounds=1,
    watched=0.1,
)
