"""Benchmarks of adding tasks in batches, compared with the same SQL statements run from C."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from . import ceiling
from .bench import Bench
from .stores import PAYLOAD
from .targets import new_tasks

PAYLOADS = pytest.mark.parametrize("payload", [b"", PAYLOAD], ids=["without input", "with input"])


@PAYLOADS
def test_add(benchmark: BenchmarkFixture, bench: Bench, payload: bytes) -> None:
    store = bench.store(bench.stores.fresh(1))
    make = new_tasks(bench.sizes.added, payload)
    benchmark.group = f"add {bench.sizes.added:,} tasks"
    benchmark.pedantic(store.add_tasks, setup=lambda: (("ready", make()), {}), rounds=bench.sizes.rounds)  # type: ignore[no-untyped-call]


@PAYLOADS
@pytest.mark.skipif(not ceiling.has_compiler(), reason="no C compiler or no sqlite3ext.h")
def test_yardstick_of_plain_c(benchmark: BenchmarkFixture, bench: Bench, payload: bytes) -> None:
    loop = bench.ceiling()
    benchmark.group = f"add {bench.sizes.added:,} tasks"
    benchmark.pedantic(loop.add, (bench.sizes.added, payload), rounds=bench.sizes.rounds)  # type: ignore[no-untyped-call]
