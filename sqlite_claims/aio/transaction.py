"""``async with store.transaction() as tx``: several writes and the caller's own SQL, all or nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from ..errors import BackendError, InvalidStateError, StoreClosedError
from ..front import OpenTransaction, Writer
from ..model import TaskClaim
from .calls import StoreCalls, claims_in
from .interface import AsyncTransaction
from .methods import AsyncWriter
from .thread import Call, Scope, entered

T = TypeVar("T")


class AsyncOpenTransaction(AsyncWriter, AsyncTransaction):
    """A transaction, from entering its ``async with`` block to leaving it. Leaving it by an exception, a cancellation
    too, rolls back; the block is not left before that, or the commit, is done. Belongs to the loop that entered it."""

    def __init__(self, store: StoreCalls, timeout: float) -> None:
        self._store = store  # which must not be collected while this is open
        self._thread = store._thread
        self._timeout = timeout
        self._scope = Scope()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._claims: list[TaskClaim] = []

    async def __aenter__(self) -> Self:
        asked = time.monotonic()
        await self._thread.ask(
            lambda: self._thread.begin(self._scope, self._timeout, asked),
            within=self._scope,
            undo=lambda _: self._thread.end(self._scope, asyncio.CancelledError),
            patience=self._timeout,
        )
        self._loop = asyncio.get_running_loop()
        entered.set((*entered.get(), self._scope))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entered.set(tuple(scope for scope in entered.get() if scope is not self._scope))
        if kind is GeneratorExit:  # the loop has gone and left this behind: there is nothing to wait on
            with suppress(StoreClosedError):
                self._end(kind, None)
            return
        try:
            await self._wait_for_the_end(kind)
        except BackendError:
            if kind is None:  # else the block's own exception says more
                raise

    async def _wait_for_the_end(self, kind: type[BaseException] | None) -> None:
        """End it, whatever happens to this task meanwhile; a cancellation is raised then."""
        loop = asyncio.get_running_loop()
        cancelled: asyncio.CancelledError | None = None
        end = commit = self._end(kind, loop)
        assert end.arrived is not None
        while not end.arrived.done():
            try:
                await asyncio.wait([end.arrived])
            except asyncio.CancelledError as error:
                cancelled = error
                if end.decide():  # it has not begun, so nothing needs to be committed
                    end = self._end(asyncio.CancelledError, loop)
                    assert end.arrived is not None
        if cancelled is None:
            end.outcome()
            return
        if kind is None and end is commit and end.error is None and self._claims:
            # Committed, but the cancelled caller will not work on these claims.
            with suppress(StoreClosedError):
                self._thread.submit(Call(lambda: self._thread.store().release_tasks(self._claims)))
        raise cancelled

    def _end(self, kind: type[BaseException] | None, loop: asyncio.AbstractEventLoop | None) -> Call[None]:
        call = Call(lambda: self._thread.end(self._scope, kind), loop=loop, scopes=(self._scope,))
        self._thread.submit(call)
        return call

    async def _call(
        self, run: Callable[[OpenTransaction], T], undo: Callable[[OpenTransaction, T], object] | None = None
    ) -> T:
        tx = self._scope.tx
        if tx is None or asyncio.get_running_loop() is not self._loop:
            raise InvalidStateError("a transaction is open only within its async with block, and on that event loop")
        return await self._thread.ask(
            lambda: run(tx), within=self._scope, undo=None if undo is None else lambda result: undo(tx, result)
        )

    async def _claim(self, run: Callable[[Writer], T]) -> T:
        found = await super()._claim(run)
        self._claims += claims_in(found)
        return found

    async def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        return await self._call(lambda tx: tx.execute(sql, params))
