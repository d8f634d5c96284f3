"""``AsyncSqliteClaimStore``: a store in a file whose methods are coroutines."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self, TypeVar

from .. import arguments, validate
from ..clock import SYSTEM_CLOCK, Clock
from ..errors import StoreClosedError, StoreUnavailableError
from ..model import Duration, InstanceInfo, TaskInfo
from ..sqlite.store import SqliteClaimStore
from .methods import AsyncStoreMethods
from .session import AsyncWorkerSession
from .thread import Call, StoreThread, entered
from .transaction import AsyncOpenTransaction

T = TypeVar("T")
# The wait methods poll the store. The interval between two polls begins at the minimum, and doubles up to the
# maximum.
_POLL_S_MIN, _POLL_S_MAX = 0.001, 0.05
# The longest wait for a commit. A thread of a cancelled call ends within this time.
_COMMIT_S_MAX = 0.5
# With more tasks than this, a read takes so long that the interval between two reads is longer.
_FEW, _GATHER_S = 100, 0.05


class AsyncSqliteClaimStore(AsyncStoreMethods):
    """``SqliteClaimStore`` for programs that run an asyncio event loop. The arguments, the file and the meaning of each
    method are the same, but the methods are coroutines. ``async with`` opens the file. Without ``async with``, the
    first call opens the file.

    The store has one thread, which runs the calls in the order in which they are made. So the event loop never waits
    for the disk. A call that is cancelled before its start does not run. A call that is cancelled after its start runs
    to its end. If the caller did not receive a claim, a session or a transaction, the store releases the claim, closes
    the session or rolls the transaction back.

    Several asyncio tasks, event loops and threads may share a store. After ``os.fork``, the parent and the child may
    both use the store, each with a separate event loop. Calls that were running at the fork belong to the parent.
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
        # The StoreThread object holds no reference to this store. So the store can be collected as garbage, and then
        # the thread ends.
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
        """The absolute path of the store's file."""
        return self._path

    # -- waiting. The methods poll, so that the thread can run other calls between two polls.

    async def wait_for_tasks(
        self, timeout: Duration, *, tags: Collection[str] | None = None, kinds: Collection[str] | None = None
    ) -> bool:
        wanted = None if tags is None else validate.names("tags", tags)
        handled = validate.kinds(kinds)
        found = await self._wait(lambda on: on.wait_for_tasks(0, tags=wanted, kinds=handled) or None, timeout)
        return found is not None

    async def wait_for_instance(self, instance_id: str, timeout: Duration) -> InstanceInfo | None:
        return await self._wait_for_commit(lambda on: on.wait_for_instance(instance_id, 0), timeout)

    async def wait_for_task(self, instance_id: str, task_id: str, timeout: Duration) -> TaskInfo | None:
        return await self._wait_for_commit(lambda on: on.wait_for_task(instance_id, task_id, 0), timeout)

    async def wait_for_any(self, refs: Iterable[tuple[str, str]], timeout: Duration) -> list[TaskInfo]:
        checked = arguments.refs(refs)
        timeout_s = validate.duration_us("timeout", timeout) / 1e6
        watch = await self._call(lambda on: on._backend.watch_tasks(checked))

        def poll(on: SqliteClaimStore) -> list[TaskInfo] | None:
            on._backend.expire_tasks()
            ended = watch.poll()
            return ended if ended or not watch.size else None

        pause_s = _POLL_S_MIN if watch.size <= _FEW else _GATHER_S
        return await self._wait_for_commit(poll, timeout_s, pause_s) or []

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

    async def _wait_for_commit(
        self, poll: Callable[[SqliteClaimStore], T | None], timeout: Duration, pause_s: float = _POLL_S_MIN
    ) -> T | None:
        """Poll after each commit until the result is not ``None``, or until the timeout. Return the result.

        A second thread waits for the commits, so that the store's thread can run other calls. If the caller is
        cancelled, this thread ends within half a second.
        """
        if entered.get():  # a transaction of the caller holds the store's lock, so a second thread could not wait
            return await self._wait(poll, timeout)
        deadline = time.monotonic() + validate.duration_us("timeout", timeout) / 1e6
        while True:
            number, wait = await self._call(lambda on: (on._backend.commit_number(), on._backend.wait_commit))
            found = await self._call(poll)
            left = deadline - time.monotonic()
            if found is not None or left <= 0:
                return found
            await asyncio.to_thread(wait, number, timeout_s=min(left, _COMMIT_S_MAX))
            await asyncio.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))

    # -- sessions and transactions

    async def open_session(self, worker_id: str) -> AsyncWorkerSession:
        """Open a worker session. A claim made with the session (``session=``) is lost as soon as the session's process
        is dead, even if the claim's lease has not ended. Close the session, or let the process end."""
        session = await self._call(lambda on: on.open_session(worker_id), lambda _, opened: opened.close())
        return AsyncWorkerSession(self, session)

    def transaction(self, timeout: Duration = 5.0) -> AsyncOpenTransaction:
        return AsyncOpenTransaction(self, validate.duration_us("timeout", timeout) / 1e6)

    # -- opening and closing

    async def close(self) -> None:
        call = Call(self._thread.close, loop=asyncio.get_running_loop(), scopes=entered.get())
        with suppress(StoreClosedError):
            try:
                self._thread.submit(call)
            except StoreUnavailableError:  # no thread can be started, so there is no thread that uses the store
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
