"""Adapter for SimpleBroker. The adapter follows SimpleBroker's recipe for work that must not be lost: a claim moves
the task to a second queue, and a completion deletes the task from the second queue."""

from __future__ import annotations

import os
from typing import Any

from simplebroker import Queue, resolve_config


class Peer:
    """Uses ``write``, ``move_one`` and ``delete``."""

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        # A queue that is opened as a library does not read the environment variables, so the configuration is passed
        # here.
        config = resolve_config(override=options)
        path = os.path.join(folder, "broker.db")
        self._queue = Queue("tasks", db_path=path, persistent=True, config=config)
        self._in_hand = Queue("in-hand", db_path=path, persistent=True, config=config)

    def facts(self) -> dict[str, Any]:
        with self._queue.get_connection() as connection:
            return {
                name: next(iter(connection._runner.run(text, fetch=True)))[0]
                for name, text in (
                    ("sqlite", "SELECT sqlite_version()"),
                    ("journal_mode", "PRAGMA journal_mode"),
                    ("synchronous", "PRAGMA synchronous"),
                )
            }

    async def add(self, payload: str) -> None:
        self._queue.write(payload)

    async def claim(self) -> Any:
        return self._queue.move_one("in-hand", with_timestamps=True)

    async def complete(self, held: Any) -> bool:
        return self._in_hand.delete(message_id=held[1])

    async def claim_many(self, size: int) -> list[Any]:
        return self._queue.move_many("in-hand", limit=size, with_timestamps=True)

    async def complete_many(self, helds: list[Any]) -> None:
        self._in_hand.delete_many([id for _, id in helds])

    async def waiting(self) -> int:
        return self._queue.stats().pending

    async def close(self) -> None:
        self._queue.close()
        self._in_hand.close()
