"""``AsyncSqliteClaimStore``: the file store for programs on an asyncio event loop.

``thread`` runs the calls. ``calls`` passes them to the thread and returns the results. ``transaction`` and ``session``
are the objects that a store returns. scripts/make_aio.py generates ``interface`` and ``methods`` from their synchronous
counterparts. Nothing here knows SQLite, or decides the meaning of a method.
"""

from .interface import AsyncTaskClaimStore
from .session import AsyncWorkerSession
from .store import AsyncSqliteClaimStore
from .transaction import AsyncOpenTransaction

__all__ = ["AsyncOpenTransaction", "AsyncSqliteClaimStore", "AsyncTaskClaimStore", "AsyncWorkerSession"]
