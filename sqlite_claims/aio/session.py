"""``AsyncWorkerSession``: the worker session that ``await store.open_session(...)`` returns."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

from ..errors import StoreClosedError
from ..interface import WorkerSession
from ..sqlite.sessions.owned_locks import SqliteWorkerSession
from .calls import StoreCalls


class AsyncWorkerSession:
    """``SqliteWorkerSession`` for programs that run an event loop. A claim made with the session (``session=``) is lost
    as soon as the session's process is dead, even if the claim's lease has not ended.

    Settle or release the session's claims before you close the session.
    """

    def __init__(self, store: StoreCalls, session: SqliteWorkerSession) -> None:
        self._store = store
        self._session = session

    @property
    def id(self) -> int:
        """The number of the session in the store's file."""
        return self._session.id

    @property
    def worker_id(self) -> str:
        """The id of the worker that opened the session."""
        return self._session.worker_id

    @property
    def is_open(self) -> bool:
        """``True`` while claims can be made with the session."""
        return self._session.is_open

    def fileno(self) -> int:
        """Return the file descriptor that holds the session's lock. If the descriptor is passed to a child command
        (``pass_fds``), the session stays open until the command ends. Return -1 if the session is closed."""
        return self._session.fileno()

    def lend(self, pid: int) -> None:
        """Record that the process ``pid`` has inherited the descriptor ``fileno()``. See
        ``SqliteWorkerSession.lend``."""
        self._session.lend(pid)

    async def close(self) -> None:
        """End the session. A second call has no effect."""
        with suppress(StoreClosedError):  # the closed store has already ended the session
            await self._store._call(lambda _: self._session.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def bare(session: AsyncWorkerSession | None) -> WorkerSession | None:
    """Return the synchronous session of an ``AsyncWorkerSession``. Return any other value unchanged, so that the store
    can check the value."""
    return session._session if isinstance(session, AsyncWorkerSession) else session
