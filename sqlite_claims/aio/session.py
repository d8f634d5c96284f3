"""``await store.open_session(...)``: a worker's session, whose end is a write like any other."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

from ..errors import StoreClosedError
from ..interface import WorkerSession
from ..sqlite.sessions.owned_locks import SqliteWorkerSession
from .calls import StoreCalls


class AsyncWorkerSession:
    """``SqliteWorkerSession`` for programs on an event loop: the life of one worker. Claims bound to it (``session=``)
    are lost, whatever their lease, as soon as its process is gone.

    Settle or release them before closing it.
    """

    def __init__(self, store: StoreCalls, session: SqliteWorkerSession) -> None:
        self._store = store
        self._session = session

    @property
    def id(self) -> int:
        """Its number in the file."""
        return self._session.id

    @property
    def worker_id(self) -> str:
        """Whose it is."""
        return self._session.worker_id

    @property
    def is_open(self) -> bool:
        """Whether claims can still be made with the session."""
        return self._session.is_open

    def fileno(self) -> int:
        """The descriptor whose lock is this session's life, to hand to a child command (``pass_fds``); -1 once
        closed."""
        return self._session.fileno()

    def lend(self, pid: int) -> None:
        """Record that the process ``pid`` has inherited ``fileno()``: see ``SqliteWorkerSession.lend``."""
        self._session.lend(pid)

    async def close(self) -> None:
        """End the session. May be called twice."""
        with suppress(StoreClosedError):  # closing the store has ended it
            await self._store._call(lambda _: self._session.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def bare(session: AsyncWorkerSession | None) -> WorkerSession | None:
    """Return the session that the file store knows. Any other value is returned as it is: the store refuses it."""
    return session._session if isinstance(session, AsyncWorkerSession) else session
