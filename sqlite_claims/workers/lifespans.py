"""Enters the lifespans of a worker before its first task, and leaves them when the run ends."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, cast

from .forked import HomeProcess
from .lazy_coroutines import LazyCoroutines
from .registry import Lifespan
from .task_log import log


class Lifespans:
    """A context manager around the run of a worker.

    Lifespans are entered in order and left in reverse order. If a lifespan fails before its ``yield``, the lifespans
    that were entered before it are left, and its error is raised. At the end, all lifespans are left, and the first
    error is raised, unless the block has raised an error.
    """

    def __init__(self, lifespans: tuple[Lifespan, ...], coroutines: LazyCoroutines, home: HomeProcess) -> None:
        self._lifespans = lifespans
        self._coroutines = coroutines
        self._home = home
        self._exits: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        try:
            for lifespan in self._lifespans:
                self._exits.append(self._enter(lifespan))
                self._home.leave_if_forked()
        except BaseException as error:
            self._home.leave_if_forked(error)
            self._leave(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._exits:
            self._leave(error)

    def _enter(self, lifespan: Lifespan) -> Callable[[], object]:
        """Run the lifespan up to its ``yield``. Return the function that runs the rest."""
        if inspect.isasyncgenfunction(lifespan):
            return self._coroutines.enter_lifespan(cast(Callable[[], AsyncIterator[object]], lifespan))
        manager = contextmanager(cast(Callable[[], Iterator[object]], lifespan))()
        manager.__enter__()
        # The code after the yield also runs after an error, so the error is not raised at the yield.
        return lambda: manager.__exit__(None, None, None)

    def _leave(self, error: BaseException | None) -> None:
        """Leave all lifespans. Raise the first error, unless there is an ``error`` already. Log the other errors."""
        first = error
        while self._exits:
            try:
                self._exits.pop()()
            except BaseException as own:  # noqa: BLE001 - raised at the end, after the other lifespans
                self._home.leave_if_forked(own)
                if first is None:
                    first = own
                else:
                    log.error("a lifespan failed at the end of the run: %r", own)
            self._home.leave_if_forked()
        if error is None and first is not None:
            raise first
