"""``AsyncSqliteClaimStore``: the store in a file, for programs that run an asyncio event loop.

The module ``thread`` runs the calls. The module ``calls`` passes each call to the thread and returns the result. The
modules ``transaction`` and ``session`` define the objects that a store returns. The script scripts/make_aio.py
generates ``interface`` and ``methods`` from the synchronous modules. This package does not access SQLite, and it does
not define the meaning of a method.
"""

from .interface import AsyncTaskClaimStore
from .session import AsyncWorkerSession
from .store import AsyncSqliteClaimStore
from .transaction import AsyncOpenTransaction

__all__ = ["AsyncOpenTransaction", "AsyncSqliteClaimStore", "AsyncTaskClaimStore", "AsyncWorkerSession"]
