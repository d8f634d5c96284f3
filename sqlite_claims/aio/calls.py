"""From a method to the thread and back: what the generated methods stand on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from ..backend import LongRead
from ..front import Paged, Writer
from ..model import TaskClaim
from ..sqlite.store import SqliteClaimStore
from .thread import StoreThread, on_a_thread_of_its_own

T = TypeVar("T")


class WriterCalls:
    """Calls of what a store and its transactions have in common."""

    async def _call(self, run: Callable[[Writer], T], undo: Callable[[Writer, T], object] | None = None) -> T:
        """Run something on the thread; ``undo`` it if the caller can't be given the result."""
        raise NotImplementedError

    async def _claim(self, run: Callable[[Writer], T]) -> T:
        """Run something that claims: what its caller doesn't get is given back."""
        return await self._call(run, _release)


class StoreCalls(WriterCalls):
    """Calls of a store."""

    _thread: StoreThread

    async def _call(
        self, run: Callable[[SqliteClaimStore], T], undo: Callable[[SqliteClaimStore, T], object] | None = None
    ) -> T:
        thread = self._thread
        return await thread.ask(
            lambda: run(thread.store()), undo=None if undo is None else lambda result: undo(thread.store(), result)
        )

    async def _apart(self, begin: Callable[[SqliteClaimStore], LongRead[T]]) -> T:
        """Begin a long read when its turn has come, and run it on a thread of its own: other calls go on meanwhile. A
        cancellation ends it, and is raised once it has left nothing behind."""
        read = await self._call(begin)
        call = on_a_thread_of_its_own(read.run, read.path)
        assert call.arrived is not None
        try:
            await asyncio.shield(call.arrived)
        except BaseException as error:
            read.stop(wait=False)
            while isinstance(error, asyncio.CancelledError) and not call.arrived.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([call.arrived])
            raise
        return call.outcome()

    async def _listed(self, run: Callable[[SqliteClaimStore], Iterator[T]]) -> AsyncIterator[T]:
        """What a listing gives, with one call for each of its pages, so that others get their turn between them."""

        def listed(on: SqliteClaimStore) -> Iterator[list[T]]:
            found = run(on)
            return found.pages if isinstance(found, Paged) else iter([list(found)])

        pages = await self._call(listed)
        while (page := await self._call(lambda _: next(pages, None))) is not None:
            for record in page:
                yield record


def claims_in(found: Any) -> list[TaskClaim]:
    """The claims in what a claiming method returned."""
    return [found] if isinstance(found, TaskClaim) else [claimed.claim for claimed in found or ()]


def _release(on: Writer, found: Any) -> None:
    if claims := claims_in(found):
        on.release_tasks(claims)
