"""The session of a worker of an in-memory store."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self


class End(Protocol):
    """A function that ends a session. ``is_noticed``: the claims are lost at once, not at the next search."""

    def __call__(self, id: int, *, is_noticed: bool) -> None: ...


class InMemorySession:
    """The session of one worker. Leaving its ``with`` block closes it."""

    def __init__(self, id: int, worker_id: str, *, is_known: Callable[[int], bool], end: End) -> None:
        self.id = id
        self.worker_id = worker_id
        self._is_known = is_known
        self._store_end = end
        self._has_ended = False

    @property
    def is_open(self) -> bool:
        """True if new claims can still be made with the session."""
        return not self._has_ended and self._is_known(self.id)

    def close(self) -> None:
        """End the session. Its claims are lost, so settle or release the claims first. A second call does nothing."""
        self._end(is_noticed=True)

    def kill(self) -> None:
        """Simulate the death of the worker, in a test. Its claims are lost at the next search for work."""
        self._end(is_noticed=False)

    def _end(self, *, is_noticed: bool) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._store_end(self.id, is_noticed=is_noticed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
