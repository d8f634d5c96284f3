"""Runs one Python adapter in a process of its own, by the Python of that peer's environment: a JSON object a line in,
one a line out. Standard library alone, and no import of the rest of the benchmarks.

    serve.py adapters/huey.py
    {"do": "open", "folder": "/tmp/x", "options": {}}    -> {"facts": {...}, "can": ["add", "claim", ...]}
    {"do": "cycle", "most": 500, "seconds": 0.1}         -> {"done": 500, "seconds": 0.09}
    {"do": "add_many", "most": 500, "seconds": 9, "size": 50}

An adapter defines ``Peer(folder, options)`` with the coroutines ``add(payload)``, ``claim()``, ``complete(held)``,
``waiting()`` and ``close()``, the method ``facts()``, and where the peer has them ``add_many(payloads)``,
``claim_many(size)``, ``complete_many(helds)`` and ``recover(seconds)``: what it documents for taking back tasks held
longer than that. Coroutines, since some of the peers' own methods are. ``claim`` answers ``None`` where there is
nothing; ``complete`` answers ``False``, or raises, where it is refused.
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
        """Open or make the queue in this folder."""
        self._peer = self._kind(folder, options)
        if hasattr(self._peer, "start"):
            await self._peer.start()
        return {"facts": self._peer.facts(), "can": [name for name in _OPTIONAL if hasattr(self._peer, name)]}

    async def add(self, most: int, seconds: float) -> dict[str, Any]:
        """Add tasks one at a time, until there are so many or it has taken so long."""
        add, done, began = self._peer.add, 0, perf_counter()
        end = began + seconds
        while done < most and perf_counter() < end:
            await add(PAYLOAD)
            done += 1
        return _took(done, began)

    async def add_many(self, most: int, seconds: float, size: int) -> dict[str, Any]:
        """Add them so many a call, in the peer's bulk form."""
        add_many, done, began = self._peer.add_many, 0, perf_counter()
        end = began + seconds
        while done < most and perf_counter() < end:
            await add_many([PAYLOAD] * size)
            done += size
        return _took(done, began)

    async def fill(self, count: int) -> dict[str, Any]:
        """Add so many by whatever is fastest."""
        began = perf_counter()
        if hasattr(self._peer, "add_many"):
            for start in range(0, count, _CHUNK):
                await self._peer.add_many([PAYLOAD] * min(_CHUNK, count - start))
        else:
            for _ in range(count):
                await self._peer.add(PAYLOAD)
        return _took(count, began)

    async def cycle(self, most: int, seconds: float) -> dict[str, Any]:
        """Claim and complete one at a time."""
        claim, complete, done, began = self._peer.claim, self._peer.complete, 0, perf_counter()
        end = began + seconds
        while done < most and perf_counter() < end:
            await complete(_present(await claim()))
            done += 1
        return _took(done, began)

    async def batch(self, most: int, seconds: float, size: int) -> dict[str, Any]:
        """Claim and complete so many at a time, as far as the peer can."""
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
        """Do the same along with other processes; report the time of each claim, with failed tries, and the errors."""
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
            except Exception as error:  # noqa: BLE001 - a peer's own "locked" is part of the result
                errors.append(_said(error))
            since = perf_counter()
        waits.append(perf_counter() - since)
        return _took(done, began) | {"waits_us": [round(wait * 1e6) for wait in waits], "errors": errors}

    async def claim(self) -> dict[str, Any]:
        """Claim one and hold it."""
        self._held = await self._peer.claim()
        return {"got": self._held is not None}

    async def complete(self) -> dict[str, Any]:
        """Complete what is held."""
        try:
            return {"refused": await self._peer.complete(self._held) is False}
        except Exception as error:  # noqa: BLE001 - whatever it raises, it has refused
            return {"refused": True, "by": _said(error)}

    async def recover(self, seconds: float) -> dict[str, Any]:
        """Take back what is held for longer."""
        await self._peer.recover(seconds)
        return {}

    async def waiting(self) -> dict[str, Any]:
        """How many tasks could be claimed."""
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
    # By path: an adapter bears its peer's name, and must not be found in its stead.
    spec = importlib.util.spec_from_file_location("adapter", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Peer


async def _main() -> None:
    # The output of a peer must not mix with the answers.
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
