"""``AsyncOpenTransaction``: the transaction of ``async with store.transaction() as tx``. All writes and all SQL
statements within the block are committed together or rolled back together."""

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
    """A transaction that is open within its ``async with`` block. If an exception leaves the block, including a
    cancellation, the transaction is rolled back. The block ends when the commit or the rollback is done. Only the
    event loop that entered the block may use the transaction."""

    def __init__(self, store: StoreCalls, timeout: float) -> None:
        self._store = store  # keeps the store from being collected as garbage while the transaction is open
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
        if kind is GeneratorExit:  # the event loop has ended without ending this task, so nothing can be awaited
            with suppress(StoreClosedError):
                self._end(kind, None)
            return
        try:
            await self._wait_for_the_end(kind)
        except BackendError:
            if kind is None:  # otherwise the block's own exception is raised, because it is more useful
                raise

    async def _wait_for_the_end(self, kind: type[BaseException] | None) -> None:
        """End the transaction, even if the current asyncio task is cancelled meanwhile. Raise ``CancelledError``
        after the transaction has ended."""
        loop = asyncio.get_running_loop()
        cancelled: asyncio.CancelledError | None = None
        end = commit = self._end(kind, loop)
        assert end.arrived is not None
        while not end.arrived.done():
            try:
                await asyncio.wait([end.arrived])
            except asyncio.CancelledError as error:
                cancelled = error
                if end.decide():  # the commit has not begun, so the transaction is rolled back
                    end = self._end(asyncio.CancelledError, loop)
                    assert end.arrived is not None
        if cancelled is None:
            end.outcome()
            return
        if kind is None and end is commit and end.error is None and self._claims:
            # The transaction is committed, but the cancelled caller will not run the claimed tasks. So release the
            # claims.
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
            raise InvalidStateError(
                "a transaction can be used only within its async with block, and only on the same event loop"
            )
        return await self._thread.ask(
            lambda: run(tx), within=self._scope, undo=None if undo is None else lambda result: undo(tx, result)
        )

    async def _claim(self, run: Callable[[Writer], T]) -> T:
        found = await super()._claim(run)
        self._claims += claims_in(found)
        return found

    async def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        return await self._call(lambda tx: tx.execute(sql, params))
