"""After a power cut at any moment, the store contains all acknowledged results, and it issues no token twice."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from sqlite_claims import BackendError, SqliteClaimStore, TaskState
from sqlite_claims.model import InstanceState
from sqlite_claims.testing import ManualClock

from .power import Record, cut_power, record

# This program simulates three boots. In each boot, threads and a second process add, complete, fail, cancel and prune
# tasks, make a checkpoint every few commits, and the program records the acknowledged results.
WORK = """
import hashlib, os, random, sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from sqlite_claims import *
from sqlite_claims.clock import SystemClock
from sqlite_claims.sqlite.wal import checkpoints

folder, durability, steps, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
checkpoints.PASSIVE_FRAMES, checkpoints.RESTART_FRAMES = 20, 60
told = os.open(f"{folder}/acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def acknowledge(*words):
    os.write(told, (" ".join(map(str, words)) + "\\n").encode())

class Boot(SystemClock):
    def __init__(self, number):
        super().__init__()
        self.number = number
    def boot_id(self):
        return f"boot {self.number}"

def work(store, me, choose):
    for step in range(steps):
        name = f"{me}-{step}"
        tasks = [NewTask(f"t{n}", choose.randbytes(choose.choice([0, 10, 5000]))) for n in range(4)]
        # A task with an endless delay keeps its instance from ending, and so from being pruned.
        store.add_instance(name, [*tasks, NewTask("last", depends_on=["t0", "t1"]), NewTask("never", delay=1e9)])
        acknowledge("added", name, 6)
        claimed = store.claim_available_tasks(me, 4, 600)
        for one in claimed:
            acknowledge("claimed", one.claim.token)
        for one in claimed[:2]:
            output = choose.randbytes(choose.choice([1, 100, 9000]))
            with suppress(ClaimLostError):  # another thread has cancelled the instance
                store.complete_task(one.claim, output)
                acknowledge("completed", one.claim.instance_id, one.claim.task_id, hashlib.sha256(output).hexdigest())
        for one in claimed[2:3]:
            with suppress(ClaimLostError):
                store.fail_task(one.claim, "no good", retry=False)
                acknowledge("failed", one.claim.instance_id, one.claim.task_id)
        with store.transaction() as tx:
            tx.add_instance(f"{name}-tx", [NewTask("t"), NewTask("never", delay=1e9)])
            tx.add_tasks(name, [NewTask("more")])
        acknowledge("added", f"{name}-tx", 2)
        acknowledge("added", name, 7)
        if step % 4 == 1:
            acknowledge("cancelling", f"{name}-tx")
            store.cancel_instance(f"{name}-tx")
            acknowledge("cancelled", f"{name}-tx")
        if step % 4 == 3:
            acknowledge("pruning")
            store.prune(0, limit=1)

for boot in range(3):
    clock = Boot(boot)
    with SqliteClaimStore(f"{folder}/jobs.db", durability=durability, clock=clock) as store:
        # Claim before the new boot syncs anything: a token lost in a power cut must not be issued again.
        for one in store.claim_available_tasks("early", 3, None):
            acknowledge("claimed", one.claim.token)
        ways = [random.Random(seed * 100 + boot * 10 + thread) for thread in range(3)]
        pool = ThreadPoolExecutor(2)
        threads = [pool.submit(work, store, f"{boot}-{thread}", ways[thread]) for thread in range(2)]
        child = os.fork()
        if child == 0:
            work(store, f"{boot}-child", ways[2])
            store.close()
            os._exit(0)
        for thread in threads:
            thread.result()
        assert os.waitpid(child, 0)[1] == 0
        store.backup(f"{folder}/copy-{boot}.db")
        acknowledge("copied", f"copy-{boot}.db")
"""


@dataclass
class Promises:
    """Results that had been acknowledged when the power failed."""

    tasks: dict[str, int] = field(default_factory=dict)
    ended: dict[tuple[str, str], str] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    may_be_cancelled: set[str] = field(default_factory=set)
    may_be_pruned: bool = False
    token: int = 0
    copies: list[str] = field(default_factory=list)

    def __init__(self, lines: list[str]) -> None:
        self.tasks, self.ended, self.cancelled, self.may_be_cancelled, self.copies = {}, {}, set(), set(), []
        for what, *words in map(str.split, lines):
            match what:
                case "added":
                    self.tasks[words[0]] = int(words[1])
                case "completed" | "failed":
                    self.ended[words[0], words[1]] = words[2] if what == "completed" else ""
                case "cancelling":
                    self.may_be_cancelled.add(words[0])
                case "cancelled":
                    self.cancelled.add(words[0])
                case "pruning":
                    self.may_be_pruned = True
                case "claimed":
                    self.token = max(self.token, int(words[0]))
                case "copied":
                    self.copies.append(words[0])


def broken_promises(folder: Path, told: list[str]) -> list[str]:
    """Open the store that the power cut left, as in the next boot. Return findings: tasks that are missing, have wrong
    values, or are claimed with a token that was issued before."""
    promised = Promises(told)
    with SqliteClaimStore(folder / "jobs.db", durability="process", clock=ManualClock()) as store:
        broken = store.check()
        instances = {info.instance_id: info for info in store.list_instances()}
        tasks = {(task.instance_id, task.task_id): task for task in store.list_tasks()}
        for name, number in promised.tasks.items():
            found = instances.get(name)
            if found is None:
                if not (promised.may_be_pruned and name in promised.may_be_cancelled):
                    broken.append(f"instance {name} is missing")
                continue
            if sum(found.counts.values()) < number:
                broken.append(f"tasks of {name} are missing")
            if name in promised.cancelled and found.state is not InstanceState.CANCELLED:
                broken.append(f"the end of {name} is missing")
        for (name, task_id), digest in promised.ended.items():
            if name in promised.may_be_cancelled:
                continue
            task = tasks.get((name, task_id))
            if task is None or task.state is not (TaskState.COMPLETED if digest else TaskState.FAILED):
                broken.append(f"the end of task {task_id} of {name} is missing")
            elif digest and sha256(task.output or b"").hexdigest() != digest:
                broken.append(f"the output of task {task_id} of {name} is another")
        while claimed := store.claim_available_tasks("next", 1000, None):
            broken += [f"token {c.claim.token} was given before" for c in claimed if c.claim.token <= promised.token]
            broken += [f"{claim} was lost" for claim in store.complete_tasks([(c.claim, b"") for c in claimed])[1]]
        store.add_instance("afterwards")
        broken += store.check()
    for copy in promised.copies:
        with SqliteClaimStore(folder / copy, create=False, durability="process", clock=ManualClock()) as store:
            broken += store.check()
    return broken


def cut_at(records: list[Record], moment: int, seed: int, folder: Path) -> list[str]:
    """Return the findings after one power cut."""
    random = Random(seed)
    files, told = cut_power(records, moment, random)
    folder.mkdir()
    for name, data in files.items():
        # The -shm and -bell files are mapped and never synced, so their contents after a power cut must not matter.
        mapped = name.endswith(("-shm", "-bell"))
        noise = random.randbytes(len(data) or random.choice([0, 4096, 4096 if name.endswith("-bell") else 32768]))
        (folder / name).write_bytes(noise if mapped else data)
    try:
        return broken_promises(folder, told)
    except BackendError as error:
        return [f"{type(error).__name__}: {error}"]
    finally:
        shutil.rmtree(folder)


def moments(records: list[Record], number: int, seed: int) -> list[int]:
    return sorted(Random(seed).sample(range(len(records)), number))


def test_after_a_power_cut_at_any_moment_all_that_was_acknowledged_is_there(recorder: Path, folder: Path) -> None:
    records = record(recorder, folder, WORK, "full", 6, 1)
    for seed, moment in enumerate([*moments(records, 80, 1), len(records)]):
        assert cut_at(records, moment, seed, folder / str(seed)) == [], f"cut at {moment} of {len(records)}, {seed=}"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_after_a_power_cut_at_any_of_many_moments_all_that_was_acknowledged_is_there(
    recorder: Path, folder: Path, seed: int
) -> None:
    records = record(recorder, folder, WORK, "full", 12, seed)
    for number, moment in enumerate(moments(records, 500, seed)):
        assert cut_at(records, moment, number, folder / str(number)) == [], f"cut at {moment}, {number=}"


@pytest.mark.slow
def test_without_the_sync_that_full_durability_adds_a_power_cut_does_lose_something(
    recorder: Path, folder: Path
) -> None:
    records = record(recorder, folder, WORK, "process", 4, 1)
    broken = [cut_at(records, moment, seed, folder / str(seed)) for seed, moment in enumerate(moments(records, 20, 1))]
    assert any("missing" in finding for findings in broken for finding in findings)
    # Although results are missing, the file is consistent, and no token is issued twice.
    assert not [finding for findings in broken for finding in findings if "SQLite" in finding or "token" in finding]


# A similar program for one boot, on a disk whose syncs sometimes fail. If a call raises an error, the result of the
# call does not count as acknowledged.
FAILING = """
import hashlib, os, random, sys
from contextlib import suppress
from sqlite_claims import *
from sqlite_claims.sqlite.wal import checkpoints

folder, durability, steps, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
checkpoints.PASSIVE_FRAMES, checkpoints.RESTART_FRAMES = 20, 60
told = os.open(f"{folder}/acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def acknowledge(*words):
    os.write(told, (" ".join(map(str, words)) + "\\n").encode())

def attempts(store, me, choose):
    for step in range(steps):
        name = f"{me}-{step}"
        with suppress(BackendError):
            store.add_instance(name, [NewTask(f"t{n}", choose.randbytes(5000)) for n in range(4)])
            acknowledge("added", name, 4)
        claimed = []
        with suppress(BackendError):
            claimed = store.claim_available_tasks(me, 4, 600)
        for one in claimed:
            output = choose.randbytes(choose.choice([1, 100, 9000]))
            with suppress(BackendError):
                store.complete_task(one.claim, output)
                acknowledge("completed", one.claim.instance_id, one.claim.task_id, hashlib.sha256(output).hexdigest())
        with suppress(BackendError), store.transaction() as tx:
            tx.add_instance(f"{name}-tx", [NewTask("t")])
        with suppress(BackendError):
            store.add_tasks(f"{name}-tx", [NewTask("more")])
            acknowledge("added", f"{name}-tx", 2)

def opened():
    while True:
        with suppress(StoreUnavailableError):
            return SqliteClaimStore(f"{folder}/jobs.db", durability=durability, busy_timeout=60)

for opening in range(3):
    with opened() as store:
        ways = [random.Random(seed * 100 + opening * 10 + number) for number in range(2)]
        child = os.fork()
        if child == 0:
            attempts(store, f"{opening}-child", ways[1])
            store.close()
            os._exit(0)
        attempts(store, f"{opening}-parent", ways[0])
        assert os.waitpid(child, 0)[1] == 0
"""


def cut_after_failed_syncs(recorder: Path, folder: Path, number: int, seed: int) -> None:
    records = record(recorder, folder, FAILING, "full", 6, seed, fail_every=7)
    assert {"e", "f"} <= {one.kind for one in records if one.name == "jobs.db-wal"}
    for attempt, moment in enumerate([*moments(records, number, seed), len(records)]):
        broken = cut_at(records, moment, attempt, folder / str(attempt))
        assert broken == [], f"cut at {moment} of {len(records)}, {attempt=}"


@pytest.mark.slow
def test_a_result_acknowledged_after_a_failed_sync_survives_a_power_cut(recorder: Path, folder: Path) -> None:
    cut_after_failed_syncs(recorder, folder, 80, 1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_results_acknowledged_after_any_of_many_failed_syncs_survive_a_power_cut(
    recorder: Path, folder: Path, seed: int
) -> None:
    cut_after_failed_syncs(recorder, folder, 500, seed)
