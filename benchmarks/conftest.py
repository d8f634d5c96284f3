"""Fixtures that provide stores for the benchmarks: full-size stores for timing, tiny stores for untimed runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .bench import Bench
from .sizes import FULL, SMOKE, Sizes
from .stores import Stores


@pytest.fixture(scope="session")
def sizes(pytestconfig: pytest.Config) -> Sizes:
    """Return the sizes. With ``--benchmark-disable``, each benchmark runs once, untimed, with tiny sizes."""
    return SMOKE if pytestconfig.getoption("benchmark_disable") else FULL


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def bench(sizes: Sizes, stores: Stores) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(sizes, stores, stack)
