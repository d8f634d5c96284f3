"""Adapter for persist-queue's SQLiteAckQueue."""

from __future__ import annotations

from typing import Any

from persistqueue import Empty, SQLiteAckQueue

_CLEAR_EVERY = 1000


class Peer:
    """Uses ``put``, ``get`` and ``ack``. With ``clear``, acked rows are deleted after every thousand tasks, because
    ``get`` has to skip acked rows."""

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        self._queue = SQLiteAckQueue(folder)
        self._clear = options.get("clear", False)
        self._acked = 0

    def facts(self) -> dict[str, Any]:
        execute = self._queue._putter.execute
        return {
            "sqlite": execute("SELECT sqlite_version()").fetchone()[0],
            "journal_mode": execute("PRAGMA journal_mode").fetchone()[0],
            "synchronous": execute("PRAGMA synchronous").fetchone()[0],
        }

    async def add(self, payload: str) -> None:
        self._queue.put(payload)

    async def claim(self) -> Any:
        try:
            return self._queue.get(block=False, raw=True)
        except Empty:
            return None

    async def complete(self, held: Any) -> None:
        self._queue.ack(held)
        self._acked += 1
        if self._clear and self._acked % _CLEAR_EVERY == 0:
            self._queue.clear_acked_data(max_delete=_CLEAR_EVERY, keep_latest=0)

    async def waiting(self) -> int:
        return self._queue.size

    async def close(self) -> None:
        self._queue.close()
