"""Adapter for queue-sqlite. The adapter makes the same calls as the scheduler's threads, but starts no such threads.
queue-sqlite's SQLite is inside a native module whose pragmas cannot be read."""

from __future__ import annotations

import os
from typing import Any

from queue_sqlite.constant import MessageStatus
from queue_sqlite.model import MessageItem, SchedulerConfig
from queue_sqlite.scheduler import QueueScheduler


class Peer:
    """Uses ``enqueue``, ``dequeue``, ``update_result`` and ``update_status``."""

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        # queue-sqlite makes its files in the current folder.
        os.chdir(folder)
        config = SchedulerConfig(queue_name="bench", **options)
        self._operation = QueueScheduler(scheduler_type="standard", config=config).queue_operation

    def facts(self) -> dict[str, Any]:
        return {}

    async def add(self, payload: str) -> None:
        message = MessageItem(content={"payload": payload}, destination="task")
        self._operation.enqueue(message.to_dict_by_core())

    async def claim(self) -> Any:
        return next(iter(self._operation.dequeue(size=1)), None)

    async def complete(self, held: dict[str, str]) -> None:
        self._operation.update_result(held["id"], "{}")
        self._operation.update_status(held["id"], MessageStatus.COMPLETED)

    async def claim_many(self, size: int) -> list[dict[str, str]]:
        return list(self._operation.dequeue(size=size))

    async def waiting(self) -> int:
        return self._operation.get_queue_length()

    async def close(self) -> None:
        self._operation = None
