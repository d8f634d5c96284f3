"""A process that claims and settles tasks at random and logs its calls.

Run this file by its path: ``python worker.py STORE LOG SEED LEASE``. The process logs each call in one line before the
call and in a second line after it, so a kill leaves a call without an outcome. The process ends at the end of its
standard input.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
import time
from typing import Any

from sqlite_claims import BackendError, ClaimLostError, SqliteClaimStore, TaskClaim

# If the worker holds more claims than this, it stops using the oldest claims. These claims then expire, and other
# processes take them over while the worker is alive.
HELD_MAX = 6
FORK_ONE_IN = 300
CALLS_OF_A_FORK = 30


class Worker:
    """One process and its log."""

    def __init__(self, store: SqliteClaimStore, log: str, seed: str, lease: float) -> None:
        self.store = store
        self.log = log
        self.lease = lease
        self.draw = random.Random(seed)
        self.seed = seed
        self.held: list[TaskClaim] = []
        self.name = f"{os.getpid()}"
        self.session = store.open_session(self.name) if self.draw.random() < 0.5 else None
        self.calls = 0
        self.file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._write({"pid": os.getpid(), "session": self.session is not None})

    def _write(self, event: dict[str, Any]) -> None:
        os.write(self.file, (json.dumps({"at": time.monotonic_ns(), **event}) + "\n").encode())

    def call(self, name: str, make: Any, **about: Any) -> Any:
        """Make a call and log it. Return its result, or ``None`` if the store refused the call."""
        self.calls += 1
        number = self.calls
        self._write({"number": number, "call": name, **about})
        result: Any = None
        told: dict[str, Any] = {}
        try:
            result = make()
            outcome = "done"
            if name == "claim":
                told = {"granted": [[each.task_id, each.token] for each in result]}
        except ClaimLostError:
            outcome = "lost"
        except BackendError as error:
            outcome = "refused"
            told = {"error": f"{type(error).__name__}: {error}"}
        self._write({"number": number, "outcome": outcome, **told})
        return result

    def claim(self) -> None:
        limit = self.draw.choice([1, 1, 2, 5])
        self.held += self.call("claim", lambda: self._claimed(limit), lease=self.lease) or []

    def _claimed(self, limit: int) -> list[TaskClaim]:
        claimed = self.store.claim_available_tasks(self.name, limit, self.lease, session=self.session)
        return [each.claim for each in claimed]

    def claim_by_name(self) -> None:
        """Try to claim a task that a different process holds, rather than a free task."""
        stored = list(self.store.list_claims())
        if not stored:
            return
        other = self.draw.choice(stored)

        def claim() -> list[TaskClaim]:
            made = self.store.claim_task(other.instance_id, other.task_id, self.name, self.lease, session=self.session)
            return [] if made is None else [made]

        self.held += self.call("claim", claim, lease=self.lease) or []

    def settle(self) -> None:
        if not self.held:
            self.claim()
            return
        claim = self.held[self.draw.randrange(len(self.held))]
        about = {"task": claim.task_id, "token": claim.token}
        way = self.draw.choice(["complete", "complete", "renew", "renew", "fail", "release"])
        if way == "renew":
            self.call(way, lambda: self.store.renew_task_claim(claim, self.lease), lease=self.lease, **about)
            return
        # otherwise, the worker later settles the task again, and that call must report a lost claim
        if self.draw.random() < 0.8:
            self.held.remove(claim)
        output = f"{self.name}:{claim.token}"
        self.call(
            way,
            {
                "complete": lambda: self.store.complete_task(claim, output.encode()),
                "fail": lambda: self.store.fail_task(claim, "drawn", retry_in=0),
                "release": lambda: self.store.release_task(claim),
            }[way],
            **about,
        )

    def fork(self) -> None:
        """Fork. Parent and child both continue with the store. The child gets new claims, a new session and a new
        log."""
        child = os.fork()
        if child == 0:
            try:
                forked = Worker(self.store, f"{self.log}-{os.getpid()}", f"{self.seed} {os.getpid()}", self.lease)
                for _ in range(CALLS_OF_A_FORK):
                    forked.step()
                forked.leave()
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    def leave(self) -> None:
        """Log that this process ends. The session of the process ends at the same time."""
        self._write({"gone": True})

    def step(self) -> None:
        self.draw.choices([self.claim, self.claim_by_name, self.settle], [3, 1, 6])[0]()
        del self.held[:-HELD_MAX]


def main(path: str, log: str, seed: str, lease: str) -> None:
    """Work until the end of standard input."""
    try:
        worker = Worker(SqliteClaimStore(path, create=False, durability="process"), log, seed, float(lease))
    except BackendError as error:  # the disk is full at the moment
        print(f"could not open: {error}")
        return
    while not select.select([0], [], [], 0)[0]:
        if worker.draw.randrange(FORK_ONE_IN) == 0:
            worker.fork()
        worker.step()
    worker.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
