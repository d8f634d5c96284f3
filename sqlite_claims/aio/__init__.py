"""``AsyncSqliteClaimStore``: the file store for programs on an asyncio event loop.

``thread`` runs the calls, ``calls`` brings them there and back, ``transaction`` and ``session`` are what a store hands
out. ``interface`` and ``methods`` are written by scripts/make_aio.py from their synchronous twins. Nothing here knows
SQLite, and nothing here decides what a method means.
"""

from .interface import AsyncTaskClaimStore
from .session import AsyncWorkerSession
from .store import AsyncSqliteClaimStore
from .transaction import AsyncOpenTransaction

__all__ = ["AsyncOpenTransaction", "AsyncSqliteClaimStore", "AsyncTaskClaimStore", "AsyncWorkerSession"]
