"""One of the processes of the crowd: ``python -m sqlite_claims.cli.bench.child FOLDER``. Each line that it reads is a
thing to do, answered by a line of JSON; it ends with its standard input."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from ...store import SqliteClaimStore

STORES = {"process": "crowd.db", "full": "durable.db"}


def crowd(store: SqliteClaimStore, worker: str, start: float, until: float) -> dict[str, Any]:
    """Claim and complete, one at a time, between these moments; how long each claim took, and all of it."""
    taken: list[float] = []
    time.sleep(max(0.0, start - time.monotonic()))
    first = time.monotonic()
    while (began := time.monotonic()) < until or not taken:
        (claimed,) = store.claim_available_tasks(worker)
        taken.append((time.monotonic() - began) * 1e3)
        store.complete_task(claimed.claim)
    return {"claims_ms": taken, "seconds": time.monotonic() - first}


def wake(store: SqliteClaimStore, worker: str, timeout: float) -> dict[str, Any]:
    """Sleep until there is a task; when it was claimed."""
    say({"waiting": True})
    while store.wait_for_tasks(timeout):
        if claimed := store.claim_available_tasks(worker):
            at = time.monotonic()
            store.complete_task(claimed[0].claim)
            return {"at": at}
    return {"at": None}


def say(answer: dict[str, Any]) -> None:
    """A line to the parent."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do what the lines say."""
    folder, worker = sys.argv[1], f"worker-{os.getpid()}"
    stores = {
        durability: SqliteClaimStore(os.path.join(folder, name), durability=durability)  # type: ignore[arg-type]
        for durability, name in STORES.items()
    }
    sleepy = SqliteClaimStore(os.path.join(folder, "sleepy.db"), durability="process")
    say({"ready": True})
    for line in sys.stdin:
        what, *values = line.split()
        if what == "ping":
            say({"at": time.monotonic()})
        elif what == "wake":
            say(wake(sleepy, worker, *map(float, values)))
        else:
            say(crowd(stores[what], worker, *map(float, values)))


if __name__ == "__main__":
    main()
