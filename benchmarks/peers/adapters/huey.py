"""Adapter for huey. huey's dequeue deletes the task, so ``complete`` does nothing."""

from __future__ import annotations

import os
from typing import Any

import huey

_NORMAL = 1


class Peer:
    """A huey queue without the consumer and its threads. The consumer calls the same ``dequeue``."""

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        filename = os.path.join(folder, "huey.db")
        if options.get("cysqlite"):
            self._huey = huey.CySqliteHuey(filename=filename, pragmas={"synchronous": _NORMAL})
        else:
            self._huey = huey.SqliteHuey(filename=filename, **({"fsync": False} if "fsync" in options else {}))
        self._task = self._huey.task()(_nothing)

    def facts(self) -> dict[str, Any]:
        execute = self._huey.storage.conn.execute
        return {
            "sqlite": execute("SELECT sqlite_version()").fetchone()[0],
            "journal_mode": execute("PRAGMA journal_mode").fetchone()[0],
            "synchronous": execute("PRAGMA synchronous").fetchone()[0],
        }

    async def add(self, payload: str) -> None:
        self._huey.enqueue(self._task.s(payload))

    async def claim(self) -> Any:
        return self._huey.dequeue()

    async def complete(self, held: Any) -> None:
        """Do nothing, because the task is deleted already."""

    async def waiting(self) -> int:
        return int(self._huey.pending_count())

    async def close(self) -> None:
        self._huey.storage.close()


def _nothing(payload: str) -> None:
    """The function of the task, which does nothing."""
