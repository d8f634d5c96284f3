"""Adapter for this store. The benchmark calls this adapter in the same way as those of the peers."""

from __future__ import annotations

import os
import platform
from itertools import count
from typing import Any

import apsw

from sqlite_claims import NewTask, SqliteClaimStore, TaskState

_INSTANCE = "bench"


class Peer:
    """Uses ``add_tasks``, ``claim_available_tasks`` and ``complete_task``, and their batch forms."""

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        self._lease = options.get("lease", 30.0)
        self._durability = options["durability"]
        self._store = SqliteClaimStore(os.path.join(folder, "claims.db"), durability=self._durability)
        self._store.add_instance(_INSTANCE, if_exists="skip")
        # Each process makes its own names, since several processes may add tasks.
        self._names = (f"{os.getpid()}-{number}" for number in count())

    def facts(self) -> dict[str, Any]:
        # The pragma synchronous is not reported, because it is NORMAL in both settings. With "full", the store itself
        # syncs the -wal before a call with a lasting result returns.
        return {"runtime": f"Python {platform.python_version()}", "sqlite": apsw.sqlite_lib_version()}

    async def add(self, payload: str) -> None:
        await self.add_many([payload])

    async def add_many(self, payloads: list[str]) -> None:
        self._store.add_tasks(_INSTANCE, [NewTask(next(self._names), payload.encode()) for payload in payloads])

    async def claim(self) -> Any:
        return next(iter(await self.claim_many(1)), None)

    async def claim_many(self, size: int) -> list[Any]:
        return self._store.claim_available_tasks("worker", size, self._lease)

    async def complete(self, held: Any) -> None:
        self._store.complete_task(held.claim)

    async def complete_many(self, helds: list[Any]) -> None:
        _, lost = self._store.complete_tasks([(held.claim, b"") for held in helds])
        if lost:
            raise RuntimeError(f"lost {len(lost)} claims")

    async def waiting(self) -> int:
        return self._store.stats().counts[TaskState.READY]

    async def close(self) -> None:
        self._store.close()
