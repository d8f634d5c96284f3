"""Benchmarks of searches for work, in stores with different contents."""

from __future__ import annotations

from typing import Any

import apsw
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sqlite_claims.sqlite.statements import sql

from .bench import ADMITS, Bench
from .stores import WORKER

LIMITS = pytest.mark.parametrize("limit", [1, 10])
CORES = pytest.mark.parametrize("use_c_core", [True, False], ids=["c", "python"])


@LIMITS
@CORES
@pytest.mark.parametrize("backlog", ["few", "many", "most"])
@pytest.mark.benchmark(group="find by backlog")
def test_find_in_a_backlog(
    benchmark: BenchmarkFixture, bench: Bench, backlog: str, limit: int, use_c_core: bool
) -> None:
    store = bench.store(bench.stores.backlog(getattr(bench.sizes, backlog)), use_c_core)
    assert len(benchmark(store.find_available_tasks, WORKER, limit)) == limit


@LIMITS
@pytest.mark.benchmark(group="find by backlog")
def test_yardstick_of_the_first_rows_of_the_index(benchmark: BenchmarkFixture, bench: Bench, limit: int) -> None:
    connection = apsw.Connection(str(bench.stores.backlog(bench.sizes.most)), flags=apsw.SQLITE_OPEN_READWRITE)

    def look() -> list[Any]:
        connection.execute("BEGIN")
        rows = connection.execute(sql.scan_head, (1, 0, limit)).fetchall()
        connection.execute("COMMIT")
        return rows

    assert len(benchmark(look)) == limit
    connection.close()


@LIMITS
@CORES
@pytest.mark.parametrize("ahead", ["nothing", "ineligible", "delayed and held"])
@pytest.mark.benchmark(group="find behind what may not be taken")
def test_find_behind(benchmark: BenchmarkFixture, bench: Bench, ahead: str, limit: int, use_c_core: bool) -> None:
    sizes, stores = bench.sizes, bench.stores
    paths = {
        "nothing": lambda: stores.backlog(sizes.few),
        "ineligible": lambda: stores.behind_ineligible(sizes.few, sizes.ineligible),
        "delayed and held": lambda: stores.behind_not_yet(sizes.few, sizes.not_yet),
    }
    store = bench.store(paths[ahead](), use_c_core)
    found = benchmark(store.find_available_tasks, WORKER, limit, **ADMITS)
    assert [task.instance_id for task in found] == ["ready"] * limit


@LIMITS
@CORES
@pytest.mark.parametrize("aging", [False, True], ids=["by priority", "aging"])
@pytest.mark.parametrize("share", [1.0, 0.1, 0.0], ids=["all lanes", "a tenth", "one lane"])
@pytest.mark.benchmark(group="find by lanes")
def test_find_in_lanes(
    benchmark: BenchmarkFixture, bench: Bench, share: float, aging: bool, limit: int, use_c_core: bool
) -> None:
    lanes = max(round(bench.sizes.lanes * share), 1)
    store = bench.store(bench.stores.lanes(bench.sizes.many, lanes, aging), use_c_core)
    assert len(benchmark(store.find_available_tasks, WORKER, limit)) == limit
