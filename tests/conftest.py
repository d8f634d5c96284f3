"""Shared fixtures: a manually advanced clock, and every store implementation with a separate clock and folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from sqlite_claims.interface import TaskClaimStore
from sqlite_claims.memory import InMemoryClaimStore
from sqlite_claims.sqlite.scan import core_available
from sqlite_claims.testing import ManualClock

from .aio.blocking import Blocking

# Without the C core, only the Python scan is tested. CI requires the core.
WITH_CORE = core_available() or os.environ.get("SQLITE_CLAIMS_REQUIRE_C") == "1"
IMPLEMENTATIONS = ["memory", *(["sqlite-c"] if WITH_CORE else []), "sqlite-python", "async"]
if chosen := os.environ.get("SQLITE_CLAIMS_TEST_STORES"):
    IMPLEMENTATIONS = chosen.split()

# Hypothesis uses the same examples in every run. `make soak` selects the profile `soak`, which draws new examples from
# a seed and prints that seed. To repeat these examples: pytest --hypothesis-profile=soak --hypothesis-seed=SEED TEST.
_common = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, database=None)
settings.register_profile("ci", _common, derandomize=True)
settings.register_profile("soak", _common, max_examples=20_000)
settings.load_profile("ci")


@pytest.hookimpl(tryfirst=True)  # run this hook before pytest applies -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Include tests of random data in `make soak`."""
    if settings.get_current_profile_name() == "soak":
        for item in items:
            if is_hypothesis_test(getattr(item, "obj", None)):
                item.add_marker(pytest.mark.soak)


class Bench:
    """A simulated machine with a clock and a store. The store can be closed and opened again."""

    def __init__(self, implementation: str, folder: Path, clock: ManualClock) -> None:
        self.implementation = implementation
        self.clock = clock
        self._path = str(folder / "jobs.db")
        self.store: Any = self.open()

    def open(self) -> Any:
        """Open one more store object on the same tasks. For the memory store, return the existing object."""
        if self.implementation == "memory":
            return getattr(self, "store", None) or InMemoryClaimStore(clock=self.clock)
        module = import_module("sqlite_claims.sqlite.store")
        # Probe for dead sessions in every call that finds or claims tasks, and not only twice a second.
        eager = type("EagerStore", (module.SqliteClaimStore,), {"_probe_every_us": 0})
        # In these tests, no commit needs to wait for the disk.
        options = {"use_c_core": self.implementation == "sqlite-c", "durability": "process", "clock": self.clock}
        if self.implementation == "async":
            aio = import_module("sqlite_claims.aio")
            return Blocking(type("Eager", (aio.AsyncSqliteClaimStore,), {"_store_class": eager})(self._path, **options))
        return eager(self._path, **options)

    def reopen(self) -> Any:
        """End the process and start it again."""
        self.go_down()
        return self.come_up()

    def close(self) -> None:
        self.store.close()

    def kill(self, session: Any) -> None:
        """End a session in the same way as if its process had died. For the memory store, the death is simulated."""
        if self.implementation == "memory":
            session.kill()
        else:
            session.drop()

    def go_down(self) -> None:
        if self.implementation != "memory":
            self.store.close()

    def come_up(self) -> Any:
        if self.implementation != "memory":
            self.store = self.open()
        return self.store

    def reboot(self) -> Any:
        """Turn the machine off and on again."""
        self.go_down()
        self.clock.reboot()
        return self.come_up()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def implementations() -> list[str]:
    """Return the names of all implementations, the oracle first."""
    return IMPLEMENTATIONS


@pytest.fixture
def make_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Bench]]:
    """Return a function that makes a ``Bench`` for an implementation and a clock. Its store is closed at the end."""
    benches = []

    def make(implementation: str, clock: ManualClock) -> Bench:
        bench = Bench(implementation, tmp_path_factory.mktemp("store"), clock)
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture(params=IMPLEMENTATIONS)
def bench(request: pytest.FixtureRequest, clock: ManualClock, make_bench: Callable[..., Bench]) -> Bench:
    return make_bench(request.param, clock)


@pytest.fixture
def store(bench: Bench) -> Any:
    return bench.store


@pytest.fixture
def offered(bench: Bench) -> Callable[..., list[str]]:
    """Return a function that lists the names of the tasks offered to a worker, in order."""

    def offered(worker_id: str = "looker", limit: int = 1000, **wanted: Any) -> list[str]:
        return [task.task_id for task in bench.store.find_available_tasks(worker_id, limit, **wanted)]

    return offered


def snapshot(store: TaskClaimStore) -> list[Any]:
    """Return everything that can be read from a store, to check that nothing has changed."""
    return [list(store.list_instances()), list(store.list_tasks()), sorted(map(repr, store.list_claims()))]


@pytest.fixture
def seen(bench: Bench) -> Callable[[], list[Any]]:
    return lambda: snapshot(bench.store)
