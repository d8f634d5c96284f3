"""Stores for the benchmarks: of full size where something is timed, tiny where it only has to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .bench import Bench
from .sizes import FULL, SMOKE, Sizes
from .stores import Stores


@pytest.fixture(scope="session")
def sizes(pytestconfig: pytest.Config) -> Sizes:
    """With ``--benchmark-disable`` each benchmark runs once, untimed."""
    return SMOKE if pytestconfig.getoption("benchmark_disable") else FULL


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def bench(sizes: Sizes, stores: Stores) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(sizes, stores, stack)
