"""A signal handler raises an exception within a call, as Ctrl-C does: the call takes effect entirely or not at all, and
the store can still be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore

from ..conftest import WITH_CORE
from ..tiers import first_is_fast
from .children import Start

INTERRUPTED = """
import random
path, use_c_core, rounds, durability = args[0], args[1] == "core", int(args[2]), args[3]

class Interrupted(BaseException):
    pass

def interrupt(number, frame):
    raise Interrupted

signal.signal(signal.SIGALRM, interrupt)
choose = random.Random(rounds)
store = SqliteClaimStore(path, use_c_core=use_c_core, durability=durability, busy_timeout=30)
acknowledged, interrupted, round = [], 0, 0

def in_a_transaction(name):
    with store.transaction() as tx:
        tx.add_instance(name, [NewTask("a")])
        tx.execute("CREATE TABLE IF NOT EXISTS own (name TEXT)")
        tx.execute("INSERT INTO own VALUES (?)", [name])

def claim_and_complete(name):
    store.add_instance(name, [NewTask("a"), NewTask("b", depends_on=["a"])])
    for one in store.claim_available_tasks("w", 2, 600):
        store.complete_task(one.claim)
    with store.open_session("w") as session:
        store.claim_available_tasks("w", 1, None, session=session)

def look_around(name):
    store.stats()
    store.find_available_tasks("w", 20)
    list(store.list_tasks(limit=20))
    store.add_instance(name)

while interrupted < rounds:
    round += 1
    name = f"i{round}"
    call = (in_a_transaction, claim_and_complete, look_around)[round % 3]
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-6, 3e-3))
            call(name)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted:
        interrupted += 1
    else:
        acknowledged.append(name)
    if round % 20 == 0:
        # After the interrupted thread has used the store again, no lock blocks other threads or processes.
        store.stats()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(store.stats()))
        thread.start()
        thread.join()
        assert len(seen) == 1
        with SqliteClaimStore(path, durability="process", busy_timeout=30) as other:
            other.add_instance(f"other{round}")
            acknowledged.append(f"other{round}")
say("sound", store.check())
there = {info.instance_id for info in store.list_instances()}
say("missing", *sorted(set(acknowledged) - there))
with store.transaction() as tx:
    own = {name for (name,) in tx.execute("SELECT name FROM own")}
say("halves", *sorted({name for name in there if name[0] == "i" and int(name[1:]) % 3 == 0} ^ own))
store.close()
"""


@pytest.mark.parametrize("core", first_is_fast(["core", "python"] if WITH_CORE else ["python"]))
def test_calls_that_are_interrupted_at_any_moment_are_done_or_not_and_the_store_goes_on(
    start: Start, tmp_path: Path, core: str
) -> None:
    process = start(INTERRUPTED, tmp_path / "jobs.db", core, 300, "process")
    assert process.says("sound") == ["[]"]
    assert process.says("missing") == []
    assert process.says("halves") == []
    process.end()
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        assert store.check() == []


@pytest.mark.soak
@pytest.mark.parametrize("core", ["core", "python"] if WITH_CORE else ["python"])
@pytest.mark.parametrize("durability", ["process", "full"])
def test_calls_that_are_interrupted_thousands_of_times_are_done_or_not(
    start: Start, tmp_path: Path, core: str, durability: str
) -> None:
    process = start(INTERRUPTED, tmp_path / "jobs.db", core, 5000, durability)
    assert process.says("sound") == ["[]"]
    assert process.says("missing") == []
    assert process.says("halves") == []
    process.end()
