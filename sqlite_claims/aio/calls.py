"""Passes a call to the store's thread and returns the call's result. The generated methods use this module."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from ..backend import LongRead
from ..front import Paged, Writer
from ..interface import Handover
from ..model import TaskClaim
from ..sqlite.store import SqliteClaimStore
from .thread import StoreThread, on_a_thread_of_its_own

T = TypeVar("T")


class WriterCalls:
    """The base class of an asynchronous store and its transactions. The class runs the methods that the store and the
    store's transactions have in common."""

    async def _call(self, run: Callable[[Writer], T], undo: Callable[[Writer, T], object] | None = None) -> T:
        """Run a function on the store's thread. If the caller cannot receive the result, call ``undo`` with the
        result."""
        raise NotImplementedError

    async def _claim(self, run: Callable[[Writer], T]) -> T:
        """Run a method that claims tasks. If the caller cannot receive the claims, release the claims."""
        return await self._call(run, _release)


class StoreCalls(WriterCalls):
    """A base class that runs the methods of a store on the store's thread."""

    _thread: StoreThread

    async def _call(
        self, run: Callable[[SqliteClaimStore], T], undo: Callable[[SqliteClaimStore, T], object] | None = None
    ) -> T:
        thread = self._thread
        return await thread.ask(
            lambda: run(thread.store()), undo=None if undo is None else lambda result: undo(thread.store(), result)
        )

    async def _apart(self, begin: Callable[[SqliteClaimStore], LongRead[T]]) -> T:
        """Run a long read on a separate thread, so that the store can run other calls meanwhile.

        If the caller is cancelled, the read ends, and then ``CancelledError`` is raised.
        """
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
        """Iterate over a list, and make one call for each page. The store can run other calls between two pages."""

        def listed(on: SqliteClaimStore) -> Iterator[list[T]]:
            found = run(on)
            return found.pages if isinstance(found, Paged) else iter([list(found)])

        pages = await self._call(listed)
        while (page := await self._call(lambda _: next(pages, None))) is not None:
            for record in page:
                yield record


def claims_in(found: Any) -> list[TaskClaim]:
    """Return the claims in the result of a claiming method."""
    if isinstance(found, TaskClaim):
        return [found]
    return [claimed.claim for claimed in (found.claimed if isinstance(found, Handover) else found or ())]


def _release(on: Writer, found: Any) -> None:
    if claims := claims_in(found):
        on.release_tasks(claims)
