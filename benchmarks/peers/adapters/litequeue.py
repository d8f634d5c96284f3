"""Adapter for litequeue."""

from __future__ import annotations

import os
from typing import Any

from litequeue import LiteQueue


class Peer:
    """Uses ``put``, ``pop`` and ``done``. Bulk adding makes many ``put`` calls in one ``transaction()``."""

    def __init__(self, folder: str, _options: dict[str, Any]) -> None:
        self._queue = LiteQueue(os.path.join(folder, "queue.db"))

    def facts(self) -> dict[str, Any]:
        execute = self._queue.conn.execute
        return {
            "sqlite": execute("SELECT sqlite_version()").fetchone()[0],
            "journal_mode": execute("PRAGMA journal_mode").fetchone()[0],
            "synchronous": execute("PRAGMA synchronous").fetchone()[0],
        }

    async def add(self, payload: str) -> None:
        self._queue.put(payload)

    async def add_many(self, payloads: list[str]) -> None:
        with self._queue.transaction(mode="IMMEDIATE"):
            for payload in payloads:
                self._queue.put(payload)

    async def claim(self) -> Any:
        return self._queue.pop()

    async def complete(self, held: Any) -> bool:
        return self._queue.done(held.message_id, claim_id=held.claim_id)

    async def recover(self, seconds: float) -> None:
        self._queue.retry_expired(threshold_seconds=seconds)

    async def waiting(self) -> int:
        return self._queue.ready_count()

    async def close(self) -> None:
        self._queue.close()
