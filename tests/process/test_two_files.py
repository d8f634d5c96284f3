"""A program that stores its rows in one file, with the standard library's sqlite3, and its tasks in a second file, as
docs/how-to/transactions.md describes. If the program is killed between the commits of the two files, no work is lost
and no work is done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore, TaskState

from ..docs.pages import ROOT, blocks
from ..tiers import first_is_fast
from .children import Start

PAGE = ROOT / "docs" / "how-to" / "transactions.md"

PROGRAM = """
os.chdir(args[0])
sys.path.insert(0, args[0])
import shop
moment = args[1]
def stop(here):
    if here == moment:
        say("stopped", here)
        hear()
class Stopping(SqliteClaimStore):
    def add_instance(self, *args, **how):
        stop("before the instance is added")
        added = super().add_instance(*args, **how)
        stop("before it is noted")
        return added
database = shop.open_database()
with Stopping("jobs.db") as store:
    shop.hand_over(database, store)
    if not database.execute("SELECT 1 FROM orders").fetchall():
        shop.place(database, store, "order-1")
    session = store.open_session("w")
    for work in store.claim_available_tasks("w", ttl=None, session=session):
        stop("before the effect")
        say("charged", shop.charge(database, work.task.instance_id, work.claim.token))
        stop("before it is completed")
        store.complete_task(work.claim)
    say("rows", database.execute("SELECT id, state FROM orders").fetchall())
database.close()
"""


@pytest.mark.parametrize(
    "moment",
    first_is_fast(
        ["before the instance is added", "before it is noted", "before the effect", "before it is completed", "never"]
    ),
)
def test_a_program_killed_between_two_commits_goes_on_where_it_was(start: Start, tmp_path: Path, moment: str) -> None:
    (shop,) = [block.code for block in blocks(PAGE) if block.module == "shop.py"]
    (tmp_path / "shop.py").write_text(shop, "utf-8")
    if moment != "never":
        killed = start(PROGRAM, tmp_path, moment)
        while killed.next_line() != f"stopped {moment}":
            pass
        killed.kill()
    heir = start(PROGRAM, tmp_path, "never")
    assert heir.rest() == ["charged True", "rows [('order-1', 'charged')]"]
    assert heir.wait() == 0
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        assert store.stats().counts[TaskState.COMPLETED] == 1
        assert [info.instance_id for info in store.list_instances()] == ["order-1"]
