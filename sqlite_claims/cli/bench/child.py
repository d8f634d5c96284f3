"""A process of the contention test: ``python -m sqlite_claims.cli.bench.child FOLDER``.

The process reads one instruction per line, and answers with lines of JSON. The process ends at the end of its standard
input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import NamedTuple

from ...sqlite.store import SqliteClaimStore

PROCESS_DB, FULL_DB, WAKE_DB = "process.db", "full.db", "wake.db"


class ClaimTimes(NamedTuple):
    """The duration of each claim, and the total duration of all claims and completions."""

    claims_ms: list[float]
    seconds: float


def claim_and_complete(store: SqliteClaimStore, worker: str, *, start: float, until: float) -> ClaimTimes:
    """Claim and complete tasks, one at a time, from ``start`` to ``until`` on the clock ``time.monotonic``."""
    claims_ms: list[float] = []
    time.sleep(max(0.0, start - time.monotonic()))
    first = time.monotonic()
    while (began := time.monotonic()) < until or not claims_ms:
        (claimed,) = store.claim_available_tasks(worker)
        claims_ms.append((time.monotonic() - began) * 1e3)
        store.complete_task(claimed.claim)
    return ClaimTimes(claims_ms, time.monotonic() - first)


def wait_and_claim(store: SqliteClaimStore, worker: str, *, timeout: float) -> float | None:
    """Wait for a task, and return the time of the claim on ``time.monotonic``. Return ``None`` at the timeout."""
    while store.wait_for_tasks(timeout):
        if claimed := store.claim_available_tasks(worker):
            at = time.monotonic()
            store.complete_task(claimed[0].claim)
            return at
    return None


def send(answer: object) -> None:
    """Send an answer to the parent process, as one line of JSON."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read instructions from standard input, and execute them."""
    folder, worker = sys.argv[1], f"worker-{os.getpid()}"
    stores = {
        "process": SqliteClaimStore(os.path.join(folder, PROCESS_DB), durability="process"),
        "full": SqliteClaimStore(os.path.join(folder, FULL_DB), durability="full"),
    }
    to_wake = SqliteClaimStore(os.path.join(folder, WAKE_DB), durability="process")
    send("ready")
    for line in sys.stdin:
        instruction, *values = line.split()
        if instruction == "ping":
            send(time.monotonic())
        elif instruction == "wake":
            send("waiting")
            send(wait_and_claim(to_wake, worker, timeout=float(values[0])))
        else:
            start, until = map(float, values)
            send(claim_and_complete(stores[instruction], worker, start=start, until=until))


if __name__ == "__main__":
    main()
