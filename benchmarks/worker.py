"""Worker processes that receive jobs as lines of JSON over pipes: see ``crew.py``.

A job is a generator, which prepares its work up to the first ``yield``. The ``yield`` returns the time at which the job
must stop. The generator's return value is the job's result.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any, Literal

from sqlite_claims import SqliteClaimStore, StoreBusyError

Durability = Literal["full", "process"]
Job = Generator[None, float, dict[str, Any]]
_BUSY_MS = 10_000
_LONG_S = 3600.0
ACKNOWLEDGED = "-acknowledged"
"""The suffix of the file next to a store to which a byte is written for each completed task."""


def crowd(path: str, worker_id: str, batch: int, sqlites_handler: bool) -> Job:
    """Claim and complete ``batch`` tasks at a time, without pause. The result includes the time of each call."""
    with closing(SqliteClaimStore(path, durability="process", busy_timeout=_BUSY_MS / 1000)) as store:
        if sqlites_handler:
            store._db.connection.set_busy_timeout(_BUSY_MS)
        _cycle(store, worker_id, batch)
        until = yield
        claims, completions = [], []
        busy = 0
        before = _used()
        while (began := time.monotonic()) < until:
            try:
                held, ended = _cycle(store, worker_id, batch)
                claims.append(held - began)
                completions.append(ended - held)
            except StoreBusyError:
                busy += 1
        used = {name: value - before[name] for name, value in _used().items()}
        return {"claims": claims, "completions": completions, "tasks": len(completions) * batch, "busy": busy} | used


def _cycle(store: SqliteClaimStore, worker_id: str, batch: int) -> tuple[float, float]:
    """Claim and complete tasks. Return the times at which the claim and the completion ended."""
    claimed = store.claim_available_tasks(worker_id, batch)
    held = time.monotonic()
    if len(claimed) < batch:
        raise RuntimeError("the tasks did not last")
    if batch == 1:
        store.complete_task(claimed[0].claim)
    else:
        store.complete_tasks([(each.claim, b"") for each in claimed])
    return held, time.monotonic()


def durable(path: str, worker_id: str, held: int, within_commit: bool, durability: Durability, note: bool) -> Job:
    """Complete one task per call.

    The job claims ``held`` tasks beforehand; if ``held`` is 0, the job claims each task right before the completion.
    ``within_commit``: use ``synchronous=FULL``, with which SQLite syncs within COMMIT. ``note``: write a byte to a file
    next to the store after each completion, so that a tracer sees the time of the acknowledgement.
    """
    with (
        closing(SqliteClaimStore(path, durability=durability)) as store,
        open(f"{path}{ACKNOWLEDGED}", "wb", buffering=0) as noted,
    ):
        if within_commit:
            store._db.connection.pragma("synchronous", "FULL")
        claims = [each.claim for each in store.claim_available_tasks(worker_id, held, _LONG_S)]
        # This warm-up completion also syncs the claims to the disk.
        store.complete_task(claims.pop() if held else store.claim_available_tasks(worker_id)[0].claim)
        until = yield
        completions = []
        while time.monotonic() < until:
            claim = claims.pop() if held else store.claim_available_tasks(worker_id)[0].claim
            began = time.monotonic()
            store.complete_task(claim)
            completions.append(time.monotonic() - began)
            if note:
                noted.write(b".")
        return {"completions": completions, "tasks": len(completions)}


def visits(path: str, worker_id: str, cycles: int) -> Job:
    """Fork processes one after the other.

    Each process opens the store, claims and completes a few tasks, and exits. Every second process exits without
    closing the store. The result is the number of processes, and the largest size of the -wal at the exit of a process.
    """
    until = yield
    visits = wal = 0
    while time.monotonic() < until:
        child = os.fork()
        if child == 0:
            store = SqliteClaimStore(path, durability="process", busy_timeout=_BUSY_MS / 1000)
            for _ in range(cycles):
                _cycle(store, worker_id, 1)
            if visits % 2:
                store.close()
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            raise RuntimeError("a process that came and went did not do its work")
        visits += 1
        with suppress(FileNotFoundError):  # the last process to close the store removes the -wal
            wal = max(wal, os.stat(f"{path}-wal").st_size)
    return {"visits": visits, "wal": wal}


def wake(path: str, worker_id: str, tasks: int) -> Job:
    """``tasks`` times: sleep until there is a task, and claim the task. The result has the time of each claim."""
    with closing(SqliteClaimStore(path, durability="process")) as store:
        until = yield
        claimed_at: dict[str, float] = {}
        while len(claimed_at) < tasks and store.wait_for_tasks(max(0.0, until - time.monotonic())):
            for claimed in store.claim_available_tasks(worker_id):
                claimed_at[claimed.task.task_id] = time.monotonic()
                store.complete_task(claimed.claim)
        return {"claimed_at": claimed_at}


def idle(path: str, worker_id: str) -> Job:
    """Sleep in a store without tasks. The result is the processor time in seconds."""
    with closing(SqliteClaimStore(path, durability="process")) as store:
        store.find_available_tasks(worker_id, 1)
        until = yield
        before = _used()["cpu"]
        if store.wait_for_tasks(until - time.monotonic()):
            raise RuntimeError("there was a task")
        return {"cpu": _used()["cpu"] - before}


JOBS: dict[str, Callable[..., Job]] = {job.__name__: job for job in (crowd, durable, visits, wake, idle)}


def _used() -> dict[str, float]:
    """Return the processor time in seconds and the number of context switches of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": used.ru_utime + used.ru_stime, "switches": used.ru_nvcsw + used.ru_nivcsw}


def _work(orders: int, answers: int) -> None:
    """Run jobs until the pipe with the orders is closed."""
    with os.fdopen(orders) as hear, os.fdopen(answers, "w") as say:
        while line := hear.readline():
            order = json.loads(line)
            job = JOBS[order["job"]](order["path"], order["worker_id"], **order["options"])
            next(job)
            print(json.dumps("ready"), file=say, flush=True)
            when = json.loads(hear.readline())
            time.sleep(max(0.0, when["start"] - time.monotonic()))
            try:
                job.send(when["until"])
            except StopIteration as end:
                print(json.dumps(end.value), file=say, flush=True)


def main() -> None:
    """Fork a worker for each pair of descriptors on the command line, and wait until all workers have ended."""
    descriptors = [int(word) for word in sys.argv[1:]]
    pairs = list(zip(descriptors[::2], descriptors[1::2], strict=True))
    for mine in pairs:
        if os.fork() == 0:
            # Each worker closes the descriptors of the other workers. Otherwise the reader of a pipe would not detect
            # the end of the worker.
            for descriptor in set(descriptors).difference(mine):
                os.close(descriptor)
            _work(*mine)
            return
    for descriptor in descriptors:
        os.close(descriptor)
    for _ in pairs:
        os.wait()


if __name__ == "__main__":
    main()
