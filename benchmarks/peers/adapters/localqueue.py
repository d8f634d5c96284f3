"""Adapter for localqueue. localqueue's SQLite is inside a native module, which reports the version and the settings."""

from __future__ import annotations

from typing import Any

from localqueue import DeliveryPolicy, DurabilityMode, Empty, SimpleQueue


class Peer:
    """Uses ``put``, ``get`` and ``ack``."""

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        chosen: dict[str, Any] = {}
        if options.get("durable"):
            chosen["durability"] = DurabilityMode.DURABLE
        if "lease" in options:
            chosen["delivery"] = DeliveryPolicy(lease_seconds=options["lease"])
        self._queue: SimpleQueue[str] = SimpleQueue(folder, **chosen)

    def facts(self) -> dict[str, Any]:
        told = self._queue.diagnostics()
        return {"sqlite": told.sqlite_version, "journal_mode": told.journal_mode, "synchronous": told.synchronous}

    async def add(self, payload: str) -> None:
        self._queue.put(payload)

    async def add_many(self, payloads: list[str]) -> None:
        self._queue.put_many(payloads)

    async def claim(self) -> Any:
        # Keep the blocking get, with timeout 0. A non-blocking get reports an empty queue if a writer is busy.
        try:
            return self._queue.get(timeout=0)
        except Empty:
            return None

    async def complete(self, held: Any) -> None:
        self._queue.ack(held)

    async def waiting(self) -> int:
        return self._queue.stats()["ready"]

    async def close(self) -> None:
        self._queue.close()
