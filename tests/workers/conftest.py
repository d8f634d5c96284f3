"""Stores that use the machine's clocks, so workers wait in real time. Each test runs on a memory store and on a store
in a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims.memory import InMemoryClaimStore
from sqlite_claims.sqlite.store import SqliteClaimStore


class Gate:
    """A gate between a handler and the test: the handler reports that it has arrived, and waits until the test opens
    the gate."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def pass_through(self) -> None:
        """Report the arrival, then wait until the gate is open. The handler calls this method."""
        self.reached.set()
        assert self.open.wait(30)


class Spy:
    """A store that first calls a function of the test when one of the chosen methods is called."""

    def __init__(self, store: Any, **replaced: Callable[..., Any]) -> None:
        self._store = store
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        if name in self._replaced:
            return lambda *args, **options: self._replaced[name](getattr(self._store, name), *args, **options)
        return getattr(self._store, name)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    found: Any = InMemoryClaimStore() if request.param == "memory" else SqliteClaimStore(tmp_path / "jobs.db")
    with found:
        yield found


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.open.set()


@pytest.fixture
def spy() -> type[Spy]:
    return Spy


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Poll until ``happened`` returns a true value, for events that are not reported to the test."""

    def wait(happened: Callable[[], bool]) -> None:
        until = time.monotonic() + 30
        while not happened():
            assert time.monotonic() < until
            time.sleep(0.01)

    return wait
