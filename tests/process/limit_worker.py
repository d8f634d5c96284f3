"""A process that holds many claims at a time, settles them at random, and logs each call.

Run this file by its path: ``python limit_worker.py STORE LOG SEED HELD_MAX``. The process logs the time before and
after each call, so a checker knows an interval that is contained in the claim, and an interval that contains the claim.
The process ends at the end of its standard input, or when no task is open.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
import time
from typing import Any

from sqlite_claims import ClaimLostError, SqliteClaimStore, TaskClaim, TaskState

NOW = time.monotonic_ns


def main(path: str, log: str, seed: str, held_max: str) -> None:
    draw = random.Random(seed)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(*event: Any) -> None:
        os.write(file, (json.dumps(event) + "\n").encode())

    store = SqliteClaimStore(path, durability="process")
    name = str(os.getpid())
    session = store.open_session(name)
    held: list[TaskClaim] = []
    empty = 0
    while not select.select([0], [], [], 0)[0]:
        wanted = min(int(held_max) - len(held), draw.randint(1, 8))
        if wanted > 0:
            began = NOW()
            claimed = store.claim_available_tasks(name, wanted, 600, session=session)
            write("claim", began, NOW(), wanted, [[one.task.instance_id, one.task.task_id] for one in claimed])
            held += [one.claim for one in claimed]
            empty = 0 if claimed else empty + 1
        draw.shuffle(held)
        for _ in range(min(len(held), draw.randint(0, 8))):
            _settle(store, held.pop(), draw, write)
        if not held and empty > 3:
            counts = store.stats().counts
            if not any(counts[state] for state in (TaskState.READY, TaskState.CLAIMED, TaskState.SCHEDULED)):
                break
            store.wait_for_tasks(0.2)
    write("end", NOW())


def _settle(store: SqliteClaimStore, claim: TaskClaim, draw: random.Random, write: Any) -> None:
    how = draw.choices(["complete", "fail", "release"], [85, 5, 10])[0]
    began = NOW()
    # This line is written before the call, so that a kill after the call leaves the task marked as possibly settled.
    write("settle", began, how, claim.instance_id, claim.task_id)
    try:
        if how == "complete":
            store.complete_task(claim)
        elif how == "fail":
            store.fail_task(claim, "failed at random", retry_in=0)
        else:
            store.release_task(claim)
    except ClaimLostError:
        how = "lost"
    write("settled", NOW(), how, claim.instance_id, claim.task_id)


if __name__ == "__main__":
    main(*sys.argv[1:])
