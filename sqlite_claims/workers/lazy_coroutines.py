"""Starts the event loop of a worker when a handler first returns a coroutine, because the import of asyncio is slow."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from .context import TaskContext
from .execute import CoroutineOutcome
from .forked import HomeProcess

if TYPE_CHECKING:
    from .coroutines import Coroutines


class LazyCoroutines:
    """Runs the coroutines of one worker. The ``Coroutines`` object is created when the first
    coroutine has to run."""

    def __init__(self, home: HomeProcess) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._coroutines: Coroutines | None = None

    def wait_for(self, awaitable: Awaitable[object], task: TaskContext) -> CoroutineOutcome:
        """Run a handler's coroutine to its end, and return its error or its value."""
        return (self._coroutines or self._make()).wait_for(awaitable, task)

    def enter_lifespan(self, function: Callable[[], AsyncIterator[object]]) -> Callable[[], None]:
        """Run an async generator function up to its ``yield``. Return the function that runs the rest."""
        return (self._coroutines or self._make()).enter_lifespan(function)

    def _make(self) -> Coroutines:
        from .coroutines import Coroutines

        with self._lock:
            self._coroutines = self._coroutines or Coroutines(self._home)
            return self._coroutines

    def abandon_loop(self) -> None:
        """Run later coroutines on a new event loop, because a coroutine that ignores its cancellation may block this
        loop."""
        if self._coroutines is not None:
            self._coroutines.abandon_loop()

    def stop(self, timeout_s: float) -> None:
        """Cancel the coroutines that still run, and wait up to ``timeout_s`` for the end of each event loop."""
        if self._coroutines is not None:
            self._coroutines.stop(timeout_s)
