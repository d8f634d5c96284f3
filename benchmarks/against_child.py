"""Run one operation many times on a new store: ``python against_child.py FOLDER OPERATION TIMES``.

``against.py`` runs this file with each of the two versions. So this file may use only public methods that both versions
have.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from sqlite_claims import NewTask, SqliteClaimStore

try:
    from sqlite_claims.clock import SYSTEM_CLOCK, SystemClock
except ImportError:  # the module's path in earlier versions
    from sqlite_claims.lease.clock import SYSTEM_CLOCK, SystemClock

INPUT = b"x" * 64
BATCH = 50
# The number of tasks in the store at the start. No operation needs more tasks than this.
WAITING = 3000
# The factor by which a program runs slower while ``valgrind`` counts its instructions. The clocks are slowed down by
# this factor, so that work that a store does once a second has the same share of the count as at normal speed.
SLOWER = 50


class SlowClock(SystemClock):
    """The machine's clocks, slowed down by the factor ``SLOWER``."""

    def __init__(self) -> None:
        super().__init__()
        self._boot, self._wall = SYSTEM_CLOCK.boot_us(), SYSTEM_CLOCK.wall_us()

    def boot_us(self) -> int:
        return self._boot + (SYSTEM_CLOCK.boot_us() - self._boot) // SLOWER

    def awake_us(self) -> int:
        return self.boot_us()

    def wall_us(self) -> int:
        return self._wall + (SYSTEM_CLOCK.wall_us() - self._wall) // SLOWER


def cycle(store: SqliteClaimStore, times: int) -> None:
    """Claim the next task in one transaction and complete it in a second transaction."""
    for _ in range(times):
        [claimed] = store.claim_available_tasks("worker", 1, 30.0)
        store.complete_task(claimed.claim, b"")


def cycle_by_name(store: SqliteClaimStore, times: int) -> None:
    """Claim a task by name and complete it."""
    for number in range(times):
        claim = store.claim_task("waiting", f"t{number}", "worker", 30.0)
        assert claim is not None
        store.complete_task(claim, b"")


def batch(store: SqliteClaimStore, times: int) -> None:
    """Claim and complete tasks in batches. A batch counts as ``BATCH`` operations."""
    for _ in range(times // BATCH):
        claimed = store.claim_available_tasks("worker", BATCH, 30.0)
        store.complete_tasks([(each.claim, b"result") for each in claimed])


def renew(store: SqliteClaimStore, times: int) -> None:
    """Renew one claim."""
    [claimed] = store.claim_available_tasks("worker", 1, 30.0)
    claim = claimed.claim
    for _ in range(times):
        claim = store.renew_task_claim(claim, 30.0)


def find(store: SqliteClaimStore, times: int) -> None:
    """Find ten tasks."""
    for _ in range(times):
        store.find_available_tasks("worker", 10)


def add(store: SqliteClaimStore, times: int) -> None:
    """Add an instance with one task."""
    for number in range(times):
        store.add_instance(f"added-{number}", [NewTask("task")])


def bulk(store: SqliteClaimStore, times: int) -> None:
    """Add one instance with many tasks. The cost includes the creation of the ``NewTask`` objects."""
    store.add_instance("bulk", [NewTask(f"t{number}", input=INPUT) for number in range(times)])


OPERATIONS: dict[str, Callable[[SqliteClaimStore, int], None]] = {
    "cycle": cycle,
    "cycle-by-name": cycle_by_name,
    "cycle-durable": cycle,
    "batch": batch,
    "renew": renew,
    "find": find,
    "add": add,
    "bulk": bulk,
}


def main(folder: str, operation: str, times: int) -> None:
    """Create a store in ``folder`` and run the operation."""
    durability = "full" if operation == "cycle-durable" else "process"
    with SqliteClaimStore(Path(folder) / "store.db", durability=durability, clock=SlowClock()) as store:
        store.add_instance("waiting", [NewTask(f"t{number}", input=INPUT) for number in range(WAITING)])
        OPERATIONS[operation](store, times)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
