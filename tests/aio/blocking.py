"""A synchronous wrapper of the asynchronous store, so that the conformance tests can use the asynchronous store like
the other stores. Each thread runs its calls on a separate event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from itertools import chain
from types import TracebackType
from typing import Any


class Blocking:
    """A store, transaction or session. A call of a method runs the method's coroutine until the coroutine ends."""

    def __init__(self, inner: Any, loops: Loops | None = None) -> None:
        self._inner = inner
        self._loops = loops or Loops()

    def __getattr__(self, name: str) -> Any:
        if name == "aging_interval":
            return self._given(self._inner.get_aging_interval())
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        return lambda *args, **kwargs: self._given(
            found(*map(_bare, args), **{key: _bare(value) for key, value in kwargs.items()})
        )

    def _given(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            value = self._loops.run(value)
        if isinstance(value, AsyncIterator):
            # Run the first step now: a synchronous listing checks its arguments as soon as it is called.
            steps = self._steps(value)
            return chain([first for first in [next(steps, None)] if first is not None], steps)
        return Blocking(value, self._loops) if hasattr(value, "__aenter__") else value

    def _steps(self, values: AsyncIterator[Any]) -> Iterator[Any]:
        async def step() -> list[Any]:
            found: list[Any] = []
            async for value in values:
                found.append(value)
                if len(found) == 100:
                    break
            return found

        while found := self._loops.run(step()):
            yield from found

    def drop(self) -> None:
        """Simulate the death of the session's process."""
        self._inner._session.drop()

    def close(self) -> None:
        self._loops.run(self._inner.close())
        if not hasattr(self._inner, "_session"):
            self._loops.close()

    def __enter__(self) -> Any:
        return self._given(self._inner.__aenter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loops.run(self._inner.__aexit__(kind, error, trace))


class Loops:
    """One event loop for each thread. All calls of a thread share one ``contextvars`` context."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._runners: list[asyncio.Runner] = []
        self._closed = False

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._closed:
            return asyncio.run(coroutine)
        if not hasattr(self._of_thread, "runner"):
            self._of_thread.runner = asyncio.Runner()
            self._runners.append(self._of_thread.runner)
        return self._of_thread.runner.run(coroutine)

    def close(self) -> None:
        self._closed = True
        while self._runners:
            self._runners.pop().close()


def _bare(value: Any) -> Any:
    return value._inner if isinstance(value, Blocking) else value
