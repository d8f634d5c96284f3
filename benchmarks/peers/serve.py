"""Run one Python adapter in a separate process, with the Python of the peer's environment.

The program reads one JSON object per line and answers each object with one JSON object on a line. It uses only the
standard library and imports no other module of the benchmarks. Example:

    serve.py adapters/huey.py
    {"do": "open", "folder": "/tmp/x", "options": {}}    -> {"facts": {...}, "can": ["add", "claim", ...]}
    {"do": "cycle", "most": 500, "seconds": 0.1}         -> {"done": 500, "seconds": 0.09}
    {"do": "add_many", "most": 500, "seconds": 9, "size": 50}

An adapter defines the class ``Peer(folder, options)`` with the method ``facts()`` and these coroutines:

* ``add(payload)``, ``claim()``, ``complete(held)``, ``waiting()`` and ``close()``;
* if the peer has such functions, ``add_many(payloads)``, ``claim_many(size)``, ``complete_many(helds)`` and
  ``recover(seconds)``. ``recover`` calls the peer's documented function for tasks that are held longer than
  ``seconds``.

All these functions are coroutines, because the methods of some peers are coroutines. ``claim`` returns ``None`` if no
task is waiting. ``complete`` returns ``False`` or raises an error if the peer refuses the completion.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from time import perf_counter
from typing import Any

PAYLOAD = "x" * 64
_CHUNK = 1000
_OPTIONAL = ("add_many", "claim_many", "complete_many", "recover")


class Session:
    """The commands, on one open queue."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._peer: Any = None
        self._held: Any = None

    async def open(self, folder: str, options: dict[str, Any]) -> dict[str, Any]:
        """Open or create the queue in this folder."""
        self._peer = self._kind(folder, options)
        if hasattr(self._peer, "start"):
            await self._peer.start()
        return {"facts": self._peer.facts(), "can": [name for name in _OPTIONAL if hasattr(self._peer, name)]}

    async def add(self, most: int, seconds: float) -> dict[str, Any]:
        """Add tasks one at a time, until the given number is added or the time is over."""
        add, done, began = self._peer.add, 0, perf_counter()
        end = began + seconds
        while done < most and perf_counter() < end:
            await add(PAYLOAD)
            done += 1
        return _took(done, began)

    async def add_many(self, most: int, seconds: float, size: int) -> dict[str, Any]:
        """Add tasks by the peer's bulk function, ``size`` tasks per call."""
        add_many, done, began = self._peer.add_many, 0, perf_counter()
        end = began + seconds
        while done < most and perf_counter() < end:
            await add_many([PAYLOAD] * size)
            done += size
        return _took(done, began)

    async def fill(self, count: int) -> dict[str, Any]:
        """Add the given number of tasks in the fastest way."""
        began = perf_counter()
        if hasattr(self._peer, "add_many"):
            for start in range(0, count, _CHUNK):
                await self._peer.add_many([PAYLOAD] * min(_CHUNK, count - start))
        else:
            for _ in range(count):
                await self._peer.add(PAYLOAD)
        return _took(count, began)

    async def cycle(self, most: int, seconds: float) -> dict[str, Any]:
        """Claim and complete one task at a time."""
        claim, complete, done, began = self._peer.claim, self._peer.complete, 0, perf_counter()
        end = began + seconds
        while done < most and perf_counter() < end:
            await complete(_present(await claim()))
            done += 1
        return _took(done, began)

    async def batch(self, most: int, seconds: float, size: int) -> dict[str, Any]:
        """Claim ``size`` tasks at a time, and complete the tasks in one call if the peer has a call for this."""
        peer, done, began = self._peer, 0, perf_counter()
        end = began + seconds
        while done < most and perf_counter() < end:
            helds = _present(await peer.claim_many(size))
            if hasattr(peer, "complete_many"):
                await peer.complete_many(helds)
            else:
                for held in helds:
                    await peer.complete(held)
            done += len(helds)
        return _took(done, began)

    async def crowd(self, seconds: float) -> dict[str, Any]:
        """Claim and complete one task at a time, while other processes do the same. Report the duration of each claim,
        including failed tries, and the errors."""
        peer, done, errors, waits = self._peer, 0, [], []
        began = since = perf_counter()
        end = began + seconds
        while perf_counter() < end:
            try:
                if (held := await peer.claim()) is None:
                    continue
                waits.append(perf_counter() - since)
                await peer.complete(held)
                done += 1
            except Exception as error:  # noqa: BLE001 - a peer's error is part of the result
                errors.append(_said(error))
            since = perf_counter()
        waits.append(perf_counter() - since)
        return _took(done, began) | {"waits_us": [round(wait * 1e6) for wait in waits], "errors": errors}

    async def claim(self) -> dict[str, Any]:
        """Claim one task and hold it."""
        self._held = await self._peer.claim()
        return {"got": self._held is not None}

    async def complete(self) -> dict[str, Any]:
        """Complete the held task."""
        try:
            return {"refused": await self._peer.complete(self._held) is False}
        except Exception as error:  # noqa: BLE001 - any error is a refusal
            return {"refused": True, "by": _said(error)}

    async def recover(self, seconds: float) -> dict[str, Any]:
        """Make tasks available again that have been held for longer than ``seconds``."""
        await self._peer.recover(seconds)
        return {}

    async def waiting(self) -> dict[str, Any]:
        """Return how many tasks could be claimed."""
        return {"waiting": await self._peer.waiting()}

    async def close(self) -> dict[str, Any]:
        """Close the queue."""
        await self._peer.close()
        return {}


def _took(done: int, began: float) -> dict[str, Any]:
    return {"done": done, "seconds": perf_counter() - began}


def _present(held: Any) -> Any:
    if not held:
        raise RuntimeError("there was no task left to claim")
    return held


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _adapter(path: str) -> Any:
    # Load the adapter by its path, because the adapter has the same name as the peer's module, and `import` would find
    # that module.
    spec = importlib.util.spec_from_file_location("adapter", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Peer


async def _main() -> None:
    # Output of a peer must not mix with the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        session = Session(_adapter(sys.argv[1]))
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                answer = await getattr(session, asked.pop("do"))(**asked)
            except Exception as error:  # noqa: BLE001 - sent to the process that asked
                answer = {"error": _said(error)}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
