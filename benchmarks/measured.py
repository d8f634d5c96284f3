"""A process that does only the measured work. So the totals of the process are the cost of this work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

R = TypeVar("R")
T = TypeVar("T")

MARKS = "-marks"
"""The suffix of a file to which a byte is written before and after the operations of each kind."""
OPERATIONS = ("find", "claim", "renew", "complete", "complete, durable", "release", "add")
BARE_OPERATIONS = ("claim and complete",)
# The number of tasks for which -wal pages are counted. The number is so small that neither the store nor the baseline
# runs a checkpoint.
_COUNTED = 100
_WAL_HEAD, _FRAME_HEAD = 32, 24


def measure(who: str, path: Path, tasks: int, batch: int) -> None:
    """Claim and complete all tasks."""
    do = _bare(path, tasks) if who == "bare" else _ours(path)
    counted = min(_COUNTED, tasks) // batch
    before = _lines("/proc/self/io")
    for _ in range(counted):
        do(batch)
    frames = _frames(Path(f"{path}-wal"))
    for _ in range(tasks // batch - counted):
        do(batch)
    after, memory = _lines("/proc/self/io"), _lines("/proc/self/smaps_rollup")
    found = {
        "bytes passed to the kernel per task": (after["wchar"] - before["wchar"]) / tasks,
        "bytes of dirtied pages per task": (after["write_bytes"] - before["write_bytes"]) / tasks,
        "frames written to the -wal per task": frames / (counted * batch),
        "Rss": memory["Rss"] / 1024,
        "Pss": memory["Pss"] / 1024,
    }
    print(json.dumps(found))


def _bare(path: Path, tasks: int) -> Callable[[int], None]:
    from .bare import BareLoop  # imported here, so that the measured memory has no unused modules

    loop = BareLoop(path, tasks)
    return lambda size: loop.cycle() if size == 1 else loop.batch(size)


def _ours(path: Path) -> Callable[[int], None]:
    from sqlite_claims import SqliteClaimStore

    store = SqliteClaimStore(path, durability="process")

    def do(size: int) -> None:
        claimed = store.claim_available_tasks("worker", size)
        if size == 1:
            store.complete_task(claimed[0].claim)
        else:
            store.complete_tasks([(each.claim, b"") for each in claimed])

    return do


def _frames(wal: Path) -> float:
    """Return the number of frames in a -wal that has not been restarted.

    It is safe to open and close the -wal here, because SQLite takes no locks on the -wal.
    """
    with wal.open("rb") as file:
        page = int.from_bytes(file.read(12)[8:], "big")
    return (wal.stat().st_size - _WAL_HEAD) / (page + _FRAME_HEAD)


def _lines(path: str) -> dict[str, int]:
    """Return the numbers of a file that has a name and a number on each line."""
    words = (line.replace(":", "").split() for line in Path(path).read_text("utf-8").splitlines())
    return {word[0]: int(word[1]) for word in words if word[1].isdecimal()}


def operate(who: str, path: Path, times: int) -> None:
    """Run each operation once as a warm-up, and then run each operation ``times`` times."""
    numbers = range(times + 1)
    with open(f"{path}{MARKS}", "wb", buffering=0) as marks:

        def each(operation: Callable[[T], R], arguments: Sequence[T]) -> list[R]:
            done = [operation(arguments[0])]
            marks.write(b".")
            done += [operation(argument) for argument in arguments[1:]]
            marks.write(b".")
            return done

        if who == "bare":
            do = _bare(path, times + 1)
            each(lambda _: do(1), numbers)
            return
        from sqlite_claims import NewTask, SqliteClaimStore

        with SqliteClaimStore(path, durability="process") as store, SqliteClaimStore(path) as durable:
            each(lambda _: store.find_available_tasks("worker", 1), numbers)
            claims = each(lambda _: store.claim_available_tasks("worker")[0].claim, numbers)
            claims = each(lambda claim: store.renew_task_claim(claim, 60.0), claims)
            each(store.complete_task, claims)
            each(durable.complete_task, [one.claim for one in store.claim_available_tasks("worker", times + 1)])
            each(store.release_task, [one.claim for one in store.claim_available_tasks("worker", times + 1)])
            each(lambda number: store.add_tasks("ready", [NewTask(f"added-{number}")]), numbers)


def main() -> None:
    """Run the job that the command line names."""
    what, who, path, *numbers = sys.argv[1:]
    jobs: dict[str, Callable[..., None]] = {"measure": measure, "operate": operate}
    jobs[what](who, Path(path), *map(int, numbers))


if __name__ == "__main__":
    main()
