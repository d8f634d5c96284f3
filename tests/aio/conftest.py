"""Shared fixtures of the async tests: the file of a store, ways to block the store's thread, and a check for
leftovers."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from typing import Any, ParamSpec

import pytest

P = ParamSpec("P")


def on_a_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Turn a coroutine function into a test function that runs the coroutine on a new event loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(_awaited(test(*args, **kwargs)))

    return run


async def _awaited(test: Awaitable[None]) -> None:
    await test


class Hold(Collection[str]):
    """A call argument that blocks the store's thread within the call: it sets ``started``, then waits for ``go``."""

    def __init__(self, *values: str) -> None:
        self.started = threading.Event()
        self.go = threading.Event()
        self._values = values

    def __iter__(self) -> Iterator[str]:
        self.started.set()
        assert self.go.wait(30)
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, value: object) -> bool:
        return value in self._values


async def soon(event: threading.Event) -> None:
    """Wait for a ``threading.Event`` without blocking the loop."""
    assert await asyncio.to_thread(event.wait, 30)


def of_stores() -> list[threading.Thread]:
    """Return the threads of all stores."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("claims /")]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check that no store's thread is still running after the test, and that asyncio has logged nothing."""
    yield
    gc.collect()  # ends the thread of a store that was not closed
    for thread in of_stores():
        thread.join(30)
        assert not thread.is_alive()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest.fixture
def options() -> dict[str, Any]:
    """Store options for tests that need not wait for the disk."""
    return {"durability": "process"}
