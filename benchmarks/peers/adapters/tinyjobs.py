"""Adapter for tinyjobs. It makes the same calls as tinyjobs' worker, in the same order and with the same lease."""

from __future__ import annotations

import os
from typing import Any

import tinyjobs

_QUEUES = ("default",)
_WORKER = f"bench-{os.getpid()}"


class Peer:
    """Claims and completes tasks by ``app.backend``, and adds tasks by the task's ``aenqueue``."""

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        self._app = tinyjobs.TinyJobs(f"sqlite:///{folder}/jobs.db")
        self._task = self._app.task(max_attempts=options.get("max_attempts", 1))(_nothing)
        self._lease = options.get("lease", 60.0)

    async def start(self) -> None:
        await self._app.ready()

    def facts(self) -> dict[str, Any]:
        with self._app.backend.transaction() as connection:
            execute = connection.execute
            return {
                "sqlite": execute("SELECT sqlite_version()").fetchone()[0],
                "journal_mode": execute("PRAGMA journal_mode").fetchone()[0],
                "synchronous": execute("PRAGMA synchronous").fetchone()[0],
            }

    async def add(self, payload: str) -> None:
        await self._task.aenqueue(payload)

    async def claim(self) -> Any:
        return next(iter(await self.claim_many(1)), None)

    async def claim_many(self, size: int) -> list[Any]:
        return await self._app.backend.claim(worker_id=_WORKER, queues=_QUEUES, limit=size, lease_seconds=self._lease)

    async def complete(self, held: Any) -> bool:
        return await self._app.backend.complete(held, None)

    async def recover(self, _seconds: float) -> None:
        await self._app.backend.reap_expired()

    async def waiting(self) -> int:
        return (await self._app.backend.counts_by_status()).get("queued", 0)

    async def close(self) -> None:
        await self._app.aclose()


def _nothing(payload: str) -> None:
    """The function of the task, which does nothing."""
