"""A file with ten million tasks: each call is fast enough, and half of the tasks can be removed while workers
continue."""

from __future__ import annotations

import json
import math
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import NewTask, SqliteClaimStore, TaskState

from .children import Start

AT_ONCE = 100_000
WORKERS = 2
# Limit on the duration of calls whose result a person waits for. Such a call takes milliseconds, except a call that
# reads the whole file.
SOON_S = 1.0

WORKER = """
import json
path, me = args
store = SqliteClaimStore(path, durability="process")
over = threading.Event()
def listen():
    hear()
    over.set()
threading.Thread(target=listen, daemon=True).start()
done, longest = 0, 0.0
say("ready")
while not over.is_set():
    began = time.monotonic()
    for each in store.claim_available_tasks(me, 1, 60):
        store.complete_task(each.claim, b"done")
        done += 1
    longest = max(longest, time.monotonic() - began)
say(json.dumps([done, longest]))
store.close()
"""


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param(40_000, id="a few", marks=pytest.mark.slow),
        pytest.param(10_000_000, id="ten million", marks=pytest.mark.soak),
    ],
)
def test_half_of_all_tasks_can_be_removed_while_others_work_and_the_file_shrinks(
    start: Start, tmp_path: Path, tasks: int
) -> None:
    path = tmp_path / "jobs.db"
    # the duration is tested only in the soak run, on an otherwise idle machine
    soon = SOON_S if tasks > 1_000_000 else math.inf
    each = min(AT_ONCE, tasks // 4)
    names = [f"i{number:03}" for number in range(tasks // each)]
    with SqliteClaimStore(path, durability="process") as store:
        print()
        _timed(f"adding {tasks:,} tasks", lambda: _add(store, names, each))
    size = path.stat().st_size
    with SqliteClaimStore(path, durability="process") as store:
        print(f"the file: {size / 1e6:,.1f} MB, {size / tasks:.0f} bytes a task")
        assert _timed("stats", store.stats, at_most=soon).counts[TaskState.READY] == tasks
        lists: list[dict[str, Any]] = [{}, *({"states": [state]} for state in TaskState), {"kinds": ["of nobody"]}]
        for wanted in lists:
            what = "".join(f" {value}" for values in wanted.values() for value in values)
            first = partial(next, store.list_tasks(**wanted), None)
            _timed(f"list_tasks, first{what}", first, at_most=soon)
        first = partial(next, store.list_tasks(names[-1]), None)
        _timed("list_tasks, first of an instance", first, at_most=soon)
        _timed("find, 10", lambda: store.find_available_tasks("w", 10))
        _timed("claim", lambda: store.claim_available_tasks("w", 1, 60))
        half = names[: len(names) // 2]
        _timed(f"cancelling {len(half)} instances", lambda: _cancel(store, half))
        workers = [start(WORKER, path, f"w{number}") for number in range(WORKERS)]
        for worker in workers:
            worker.says("ready")
        began = time.monotonic()
        pruned = 0
        while pruned < len(half):
            pruned += store.prune(0)
        took = time.monotonic() - began
        for worker in workers:
            worker.tell()
        told = [json.loads(worker.next_line()) for worker in workers]
        print(
            f"pruning {pruned * each:,} tasks: {took:.1f} s; {WORKERS} workers did {sum(done for done, _ in told):,} "
            f"meanwhile, {max(longest for _, longest in told) * 1000:.1f} ms for the slowest"
        )
        assert min(done for done, _ in told) > 0
        assert _timed("stats", store.stats, at_most=soon).counts[TaskState.CANCELLED] == 0
        assert [info.instance_id for info in store.list_instances()] == names[len(half) :]
        assert _timed("check", store.check) == []
    left = path.stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"the file: {left / 1e6:,.1f} MB; this process had {memory:.0f} MB of memory at the most")
    assert left < 0.6 * size
    path.unlink()


def _add(store: SqliteClaimStore, names: list[str], each: int) -> None:
    for name in names:
        store.add_instance(name, [NewTask(f"t{place:05}") for place in range(each)])


def _cancel(store: SqliteClaimStore, names: list[str]) -> None:
    for name in names:
        store.cancel_instance(name)


def _timed(what: str, call: Callable[[], Any], at_most: float = math.inf) -> Any:
    began = time.perf_counter()
    result = call()
    took = time.perf_counter() - began
    print(f"{what}: {took * 1000:,.1f} ms" if took < 1 else f"{what}: {took:.1f} s")
    assert took < at_most
    return result
