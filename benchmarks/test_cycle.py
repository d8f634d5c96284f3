"""Benchmarks of claiming and completing, compared with the Python baseline and the same SQL statements run from C."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from . import ceiling
from .bench import Bench, batch

SIZES = pytest.mark.parametrize("size", ["one", "batch"])
needs_compiler = pytest.mark.skipif(not ceiling.has_compiler(), reason="no C compiler or no sqlite3ext.h")


def run(benchmark: BenchmarkFixture, bench: Bench, size: str, operation: Callable[[int], None]) -> None:
    """Time the operation with ``number`` tasks per call, until the store's tasks are used up."""
    number = bench.sizes.batch if size == "batch" else 1
    benchmark.extra_info["tasks a call"] = number
    benchmark.group = f"claim and complete, {size}"
    calls = bench.sizes.cycles // number
    benchmark.pedantic(operation, (number,), rounds=bench.sizes.rounds, iterations=calls, warmup_rounds=1)  # type: ignore[no-untyped-call]


@SIZES
@pytest.mark.parametrize("use_c_core", [True, False], ids=["c", "python"])
def test_cycle(benchmark: BenchmarkFixture, bench: Bench, size: str, use_c_core: bool) -> None:
    store = bench.store(bench.stores.fresh(bench.tasks()), use_c_core)
    run(benchmark, bench, size, lambda number: batch(store, number))


@SIZES
def test_yardstick_of_a_bare_apsw_loop(benchmark: BenchmarkFixture, bench: Bench, size: str) -> None:
    loop = bench.bare()
    run(benchmark, bench, size, lambda number: loop.cycle() if number == 1 else loop.batch(number))


@SIZES
@needs_compiler
def test_yardstick_of_plain_c(benchmark: BenchmarkFixture, bench: Bench, size: str) -> None:
    loop = bench.ceiling()
    run(benchmark, bench, size, lambda number: loop.cycles(1, number))
