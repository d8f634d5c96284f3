"""Shared fixtures of the async tests: a store's file, ways to block its thread, and a check for leftovers."""

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
    """A test that is a coroutine, run on a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(_awaited(test(*args, **kwargs)))

    return run


async def _awaited(test: Awaitable[None]) -> None:
    await test


class Hold(Collection[str]):
    """An argument that holds the store's thread, within the call that it is given to, from ``started`` until ``go``."""

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
    """Wait for an event of another thread without holding the loop."""
    assert await asyncio.to_thread(event.wait, 30)


def of_stores() -> list[threading.Thread]:
    """The threads of stores that there are."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("claims /")]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No thread of a store outlives its test, and the loop had nothing to complain about."""
    yield
    gc.collect()  # what was not closed ends when it is collected
    for thread in of_stores():
        thread.join(30)
        assert not thread.is_alive()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest.fixture
def options() -> dict[str, Any]:
    """Store options: these tests need not wait for the disk."""
    return {"durability": "process"}
