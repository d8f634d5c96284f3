"""Damaged files: for any damage, callers get this library's errors, and no process crashes."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from sqlite_claims import NewTask, RetryPolicy, SqliteClaimStore, StoreCorruptError
from sqlite_claims.sqlite.scan import core_available

from ..process.children import Start
from ..tiers import first_is_fast


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Make a store with tasks in many states."""
    path = tmp_path / "sound.db"
    with SqliteClaimStore(path, durability="process") as store:
        for number in range(30):
            tasks = [
                NewTask("a", bytes([number]) * 700, kind=f"k{number % 3}", tags=["x", "y"][: number % 3]),
                NewTask("b", depends_on=["a"], retry=RetryPolicy(2.0), max_lost=1),
                NewTask("c", priority=1 + number % 5, delay=number),
                NewTask("d", depends_on=["a", "b"]),
            ]
            store.add_instance(f"i{number}", tasks, definition_hash="h")
        claimed = [one.claim for one in store.claim_available_tasks("w", 20, 600)]
        store.complete_tasks([(claim, b"o" * 900) for claim in claimed[:8]])
        store.fail_tasks([(claim, "e" * 300) for claim in claimed[8:12]])
        store.fail_task(claimed[12], "no good", retry=False)
        store.pause_instance("i3")
        store.cancel_instance("i4")
        assert store.check() == []
    return path


CORES = ["core", "python"] if core_available() else ["python"]
# For each seed, this program damages a copy of a store, makes every call on the copy, and prints how the calls ended.
USE_DAMAGED = """
import json, random, shutil
folder, seeds, core = args[0], json.loads(args[1]), args[2] == "core"
base = open(folder + "/sound.db", "rb").read()
found = []

def use(path):
    done = []
    def attempt(call, *words, **options):
        try:
            result = call(*words, **options)
            done.append("ok")
            return result if isinstance(result, (bool, int, TaskClaim)) else list(result or ())
        except BackendError as error:
            done.append(type(error).__name__)
        return []
    try:
        store = SqliteClaimStore(path, durability="process", use_c_core=core, busy_timeout=0.1)
    except BackendError as error:
        return [type(error).__name__]
    with store:
        attempt(store.check)
        attempt(store.stats().counts.values) if attempt(lambda: [store.stats()]) else None
        for lister in (store.list_instances, store.list_tasks, store.list_claims, store.list_workers):
            attempt(lambda lister=lister: list(lister()))
        attempt(store.find_available_tasks, "w", 50, tags=["x"])
        claims = [one.claim for one in attempt(store.claim_available_tasks, "w", 10, 60)]
        attempt(store.renew_task_claims, claims, 60)
        for number, claim in enumerate(claims):
            if number % 2:
                attempt(store.complete_task, claim, b"result")
            else:
                attempt(store.fail_task, claim, "error")
        attempt(store.complete_tasks, [(claim, b"") for claim in claims])
        for number in range(0, 30, 5):
            for task in "abcd":
                attempt(lambda: [store.get_task(f"i{number}", task)])
                attempt(lambda: [store.explain_task(f"i{number}", task)])
                attempt(store.claim_task, f"i{number}", task, "w", 1)
            attempt(lambda: [store.get_instance(f"i{number}")])
            attempt(store.retry_task, f"i{number}", "a")
            attempt(store.pause_instance, f"i{number}")
            attempt(store.resume_instance, f"i{number}")
            attempt(store.cancel_instance, f"i{number}")
        attempt(store.add_instance, "new", [NewTask("a"), NewTask("b", depends_on=["a"], kind="new", tags=["z"])])
        attempt(store.prune, 0)
        attempt(store.backup, path + ".copy")
        attempt(store.check)
    return done

for seed in seeds:
    choose = random.Random(seed)
    data = bytearray(base)
    if seed % 3 == 0:  # replace whole pages
        for _ in range(choose.randrange(1, 4)):
            at = choose.randrange(1, len(data) // 2048) * 2048
            data[at : at + 2048] = choose.choice([bytes(2048), choose.randbytes(2048), base[2048:4096]])
    elif seed % 3 == 1:  # replace single bytes, except in the header
        for _ in range(choose.randrange(1, 60)):
            data[choose.randrange(100, len(data))] = choose.randrange(256)
    else:  # truncate the file
        del data[choose.randrange(100, len(data)) :]
    path = f"{folder}/damaged{seed}.db"
    open(path, "wb").write(data)
    say("using", seed)
    say("used", " ".join(use(path)))
"""


def outcomes(start: Start, path: Path, seeds: range, core: str) -> Counter[str]:
    child = start(USE_DAMAGED, path.parent, json.dumps(list(seeds)), core)
    total: Counter[str] = Counter()
    for seed in seeds:
        child.says("using", seed)
        total.update(child.says("used"))
    child.end()
    return total


@pytest.mark.parametrize("core", first_is_fast(CORES))
def test_a_damaged_store_raises_our_errors_alone_and_crashes_nobody(start: Start, sound: Path, core: str) -> None:
    total = outcomes(start, sound, range(45), core)
    assert total["StoreCorruptError"] > 50
    assert total["ok"] > 50


@pytest.mark.soak
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("part", range(10))
def test_stores_damaged_in_a_thousand_ways_raise_our_errors_alone(
    start: Start, sound: Path, core: str, part: int
) -> None:
    outcomes(start, sound, range(100 + part * 200, 300 + part * 200), core)


def test_a_store_without_its_page_of_tables_is_corrupt(sound: Path) -> None:
    data = bytearray(sound.read_bytes())
    data[100:2048] = bytes(1948)
    sound.write_bytes(data)
    with pytest.raises(StoreCorruptError):
        SqliteClaimStore(sound)


def test_check_names_what_is_damaged(sound: Path) -> None:
    data = bytearray(sound.read_bytes())
    at = data.rindex(bytes([7]) * 700)
    data[at - 2000 : at] = bytes(2000)
    sound.write_bytes(data)
    with SqliteClaimStore(sound) as store:
        findings = store.check()
    assert any(finding.startswith("SQLite: ") for finding in findings)
    assert any("came no further" in finding for finding in findings)


def test_check_names_what_does_not_fit_together(sound: Path) -> None:
    broken = {
        "UPDATE claims_instances SET completed = completed + 1 WHERE name = 'i9'": "claims_instances row 10: its count",
        "UPDATE claims_tasks SET next_at = NULL WHERE name = 'c'": "its place in the index",
        "UPDATE claims_tasks SET lane = -lane WHERE name = 'c'": "its lane does not fit",
        "DELETE FROM claims_instances WHERE name = 'i9'": "belongs to no instance",
        "UPDATE claims_tasks SET open_deps = 7 WHERE name = 'd'": "count of open dependencies",
        "DELETE FROM claims_tasks WHERE name = 'a'": "belongs to no task",
    }
    for statement, finding in broken.items():
        path = sound.with_name("broken.db")
        shutil.copy(sound, path)
        with SqliteClaimStore(path, durability="process") as store:
            store._db.write(lambda db: db.execute(statement), False)  # noqa: B023 - called at once
            assert any(finding in found for found in store.check()), statement


def test_a_damaged_wal_costs_what_was_not_yet_copied_from_it_and_no_more(start: Start, sound: Path) -> None:
    writer = start(
        """
store = SqliteClaimStore(args[0])
for number in range(5):
    store.add_instance(f"new{number}", [NewTask("t", bytes(5000))])
say("added")
hear()
""",
        sound,
    )
    writer.says("added")
    writer.kill()
    wal = sound.with_name("sound.db-wal")
    data = bytearray(wal.read_bytes())
    data[len(data.rstrip(b"\0")) // 2] ^= 0xFF  # zeros follow the last frame, because the -wal is extended in advance
    wal.write_bytes(data)
    with SqliteClaimStore(sound) as store:
        assert store.check() == []
        names = [info.instance_id for info in store.list_instances() if info.instance_id.startswith("new")]
        assert names == [f"new{number}" for number in range(len(names))]
        assert len(names) < 5


def test_the_contents_of_the_side_files_do_not_matter(sound: Path) -> None:
    for suffix, size in (("-shm", 40_000), ("-sessions", 4_096), ("-bell", 4_096)):
        sound.with_name(f"sound.db{suffix}").write_bytes(b"\xa5" * size)
    with SqliteClaimStore(sound) as store:
        assert store.add_instance("new", [NewTask("t")])
        assert not store.wait_for_tasks(0.01, kinds=["none of that kind"])
        with store.open_session("w"):
            assert [worker.alive for worker in store.list_workers()] == [True]
        assert store.check() == []


def test_a_rollback_journal_is_told_of_where_sqlite_would_heed_it(tmp_path: Path) -> None:
    journal = tmp_path / "jobs.db-journal"
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")
        assert [finding for finding in store.check() if "journal" in finding] == store.check() != []
        journal.write_bytes(bytes(512))
        assert store.check() == []
