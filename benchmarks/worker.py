"""A process that works on stores as it is told, by lines of JSON on its standard input: see ``crew.py``.

A job is a generator: it prepares up to its first ``yield``, which gives it when to stop, and ends with its results.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from sqlite_claims import SqliteClaimStore, StoreBusyError

Job = Generator[None, float, dict[str, Any]]
_BUSY_MS = 10_000


def crowd(path: str, worker_id: str, batch: int, sqlites_handler: bool) -> Job:
    """Claim and complete without pause, ``batch`` tasks at a time. Returns how long each call took, too."""
    with closing(SqliteClaimStore(path, durability="process", busy_timeout=_BUSY_MS / 1000)) as store:
        if sqlites_handler:
            store._db.connection.set_busy_timeout(_BUSY_MS)
        _cycle(store, worker_id, batch)
        until = yield
        claims, completions = [], []
        busy = 0
        before = _cpu_s()
        while (began := time.monotonic()) < until:
            try:
                held, ended = _cycle(store, worker_id, batch)
                claims.append(held - began)
                completions.append(ended - held)
            except StoreBusyError:
                busy += 1
        cpu = _cpu_s() - before
        tasks = len(completions) * batch
        return {"claims": claims, "completions": completions, "tasks": tasks, "busy": busy, "cpu": cpu}


def _cycle(store: SqliteClaimStore, worker_id: str, batch: int) -> tuple[float, float]:
    """Claim and complete. Returns when the one had ended, and the other."""
    claimed = store.claim_available_tasks(worker_id, batch)
    held = time.monotonic()
    if len(claimed) < batch:
        raise RuntimeError("the tasks did not last")
    if batch == 1:
        store.complete_task(claimed[0].claim)
    else:
        store.complete_tasks([(each.claim, b"") for each in claimed])
    return held, time.monotonic()


JOBS: dict[str, Callable[..., Job]] = {"crowd": crowd}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def _hear() -> Any:
    return json.loads(sys.stdin.readline() or "null")


def main() -> None:
    """Do jobs until the standard input ends."""
    while (order := _hear()) is not None:
        job = JOBS[order["job"]](order["path"], order["worker_id"], **order["options"])
        next(job)
        _say("ready")
        when = _hear()
        time.sleep(max(0.0, when["start"] - time.monotonic()))
        try:
            job.send(when["until"])
        except StopIteration as end:
            _say(end.value)


if __name__ == "__main__":
    main()
