"""``AsyncSqliteClaimStore``: a file store whose methods are coroutines."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self, TypeVar

from .. import validate
from ..clock import SYSTEM_CLOCK, Clock
from ..errors import StoreClosedError, StoreUnavailableError
from ..model import Duration, InstanceInfo
from ..sqlite.store import SqliteClaimStore
from .methods import AsyncStoreMethods
from .session import AsyncWorkerSession
from .thread import Call, StoreThread, entered
from .transaction import AsyncOpenTransaction

T = TypeVar("T")
# Waiting polls the store. The interval doubles from the minimum to the maximum.
_POLL_S_MIN, _POLL_S_MAX = 0.001, 0.05


class AsyncSqliteClaimStore(AsyncStoreMethods):
    """``SqliteClaimStore`` for programs on an asyncio event loop: the same arguments, the same file, and each method
    means the same as a coroutine. Use it by ``async with``, which opens the file; else the first call does.

    Everything runs on one thread of the store's own, call by call in the order in which they are made, so that the loop
    never waits for the disk. A call that is cancelled before it has begun is not made. One that has begun happens; but
    a claim, a session or a transaction that its caller did not get is given back, closed or rolled back.

    Safe to share between tasks, and between loops, also of different threads. After ``os.fork`` both sides may go on
    using it, each on a loop of its own. Calls under way belong to the parent.
    """

    _store_class = SqliteClaimStore

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        read_only: bool = False,
        durability: Literal["full", "process"] = "full",
        busy_timeout: float = 10.0,
        use_c_core: bool | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._path = validate.store_path(path)
        # Holds no reference to this store: the thread ends when nobody refers to it any more.
        self._thread = StoreThread(
            _opener(
                self._store_class,
                self._path,
                create=create,
                read_only=read_only,
                durability=durability,
                busy_timeout=busy_timeout,
                use_c_core=use_c_core,
                clock=clock,
            ),
            self._path,
        )
        weakref.finalize(self, self._thread.stop).atexit = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._path!r})"

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._path

    # -- waiting: by polling, so that the thread is free between two polls

    async def wait_for_tasks(
        self, timeout: Duration, *, tags: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> bool:
        wanted = None if tags is None else validate.names("tags", tags)
        handled = validate.kinds(kinds)
        found = await self._wait(lambda on: on.wait_for_tasks(0, tags=wanted, kinds=handled) or None, timeout)
        return found is not None

    async def wait_for_instance(self, instance_id: str, timeout: Duration) -> InstanceInfo | None:
        return await self._wait(lambda on: on.wait_for_instance(instance_id, 0), timeout)

    async def _wait(self, poll: Callable[[SqliteClaimStore], T | None], timeout: Duration) -> T | None:
        deadline = time.monotonic() + validate.duration_us("timeout", timeout) / 1e6
        pause = _POLL_S_MIN
        while True:
            found = await self._call(poll)
            left = deadline - time.monotonic()
            if found is not None or left <= 0:
                return found
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, _POLL_S_MAX)

    # -- sessions and transactions

    async def open_session(self, worker_id: str) -> AsyncWorkerSession:
        """Start a worker's session: claims bound to it (``session=``) are lost as soon as its process is gone, however
        long their lease. Close it, or let the process end."""
        session = await self._call(lambda on: on.open_session(worker_id), lambda _, opened: opened.close())
        return AsyncWorkerSession(self, session)

    def transaction(self, timeout: Duration = 5.0) -> AsyncOpenTransaction:
        return AsyncOpenTransaction(self, validate.duration_us("timeout", timeout) / 1e6)

    # -- from beginning to end

    async def close(self) -> None:
        call = Call(self._thread.close, loop=asyncio.get_running_loop(), scopes=entered.get())
        with suppress(StoreClosedError):
            try:
                self._thread.submit(call)
            except StoreUnavailableError:  # no thread can be started, so none is using the store
                self._thread.close()
                return
            assert call.arrived is not None
            await asyncio.shield(call.arrived)
            call.outcome()

    async def __aenter__(self) -> Self:
        try:
            await self._call(lambda _: None)
        except BaseException:
            with suppress(StoreClosedError, StoreUnavailableError):
                self._thread.submit(Call(self._thread.close))
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _opener(kind: type[SqliteClaimStore], path: str, **options: object) -> Callable[[], SqliteClaimStore]:
    return lambda: kind(path, **options)  # type: ignore[arg-type]
