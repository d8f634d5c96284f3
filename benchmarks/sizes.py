"""Sizes of the benchmarks: large sizes for timing, and tiny sizes that only show that a benchmark still runs."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of tasks, lanes and repetitions."""

    few: int  # ready tasks in the smallest store; ``many`` and ``most`` are for the middle and the largest store
    many: int
    most: int
    ineligible: int  # tasks of higher priority that the worker may not claim
    not_yet: int  # number of delayed tasks, and also of claimed tasks
    settled: int  # tasks that are swept during searches for work; at least some thousand
    lanes: int
    partitions: int  # full partitions of a limit
    batch: int  # tasks per claim, in cases that claim in batches
    added: int  # tasks added in one call
    looks: int  # calls of find_available_tasks in a round
    cycles: int  # number of tasks that are claimed and completed in a round
    rounds: int
    processes: tuple[int, ...]  # numbers of processes that work at the same time
    span: float  # seconds for which these processes work in a round
    tasks_a_second: int  # number of tasks per second of a round: more than all these processes together can complete
    tail: int  # number of cycles to run; the figures describe the slowest cycles
    wakes: int  # number of tasks that a worker waits for in a round
    idle: float  # seconds for which a process waits without any task
    written: int  # number of tasks for which writes and system calls are counted
    long_rounds: int  # number of rounds in cases whose rounds take seconds
    watched: float  # seconds for which idle workers, or workers with long tasks, are measured


FULL = Sizes(
    few=1_000,
    many=100_000,
    most=1_000_000,
    ineligible=300_000,
    not_yet=50_000,
    settled=100_000,
    lanes=200,
    partitions=10_000,
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
# Sizes for stores of the largest size that is expected in use. It takes minutes to create these stores.
HUGE = replace(FULL, most=10_000_000, ineligible=1_000_000, settled=1_000_000)
SMOKE = Sizes(
    few=20,
    many=30,
    most=40,
    ineligible=30,
    not_yet=20,
    settled=2_500,
    lanes=5,
    partitions=10,
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
