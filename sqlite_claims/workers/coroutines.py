"""Coroutines of all lanes on one event loop. Loaded by the first of them, since asyncio takes a while to import."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any

from .context import TaskContext


class LoopThread:
    """One event loop on a thread of its own."""

    def __init__(self) -> None:
        ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live(ready)), name="claims-coroutines", daemon=True
        )
        self._thread.start()
        ready.wait()

    def wait_for(self, awaitable: Awaitable[Any], task: TaskContext) -> Any:
        """Run it on the loop and block until it is done; it is cancelled when the attempt is dropped."""
        future = asyncio.run_coroutine_threadsafe(_settle(awaitable), self._loop)
        task._on_drop = future.cancel
        if task.cancelled.is_set():  # dropped before the line above could be seen
            future.cancel()
        error, value = future.result()
        if error is not None:
            raise error
        return value

    def stop(self, timeout: float) -> None:
        """Cancel what still runs there and end the thread; one that won't end is left behind (it is a daemon)."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(timeout)

    async def _live(self, ready: threading.Event) -> None:
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ready.set()
        await self._end.wait()


async def _settle(awaitable: Awaitable[Any]) -> tuple[BaseException | None, Any]:
    """The error as a value: a SystemExit raised inside a task would end the loop for all of them."""
    try:
        return None, await awaitable
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again by wait_for
        return error, None
