"""A background thread copies the -wal into the database file, also if the frames were written by other processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore

from .children import Start

# This program adds instances until SQLite writes to the -wal from its beginning again. Then all frames have been
# copied, and the first frame has been overwritten.
UNTIL_STARTED_OVER = """
from sqlite_claims.sqlite.wal import checkpoints
from sqlite_claims.sqlite import forks
checkpoints.PASSIVE_FRAMES = 20
path = args[0]
wal = path + "-wal"

def salt():
    try:
        with open(wal, "rb") as file:
            return file.read(24)[16:]
    except FileNotFoundError:  # a fork has closed the connection, which removes the -wal
        return b""

def until_started_over(store, names):
    before = salt()
    while salt() == before:
        store.add_instance(f"i{next(names)}", [NewTask("t")])
"""


def test_the_wal_starts_over_again_and_again(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    worker = start(
        UNTIL_STARTED_OVER
        + """
import itertools
names = itertools.count()
with SqliteClaimStore(path, durability="process") as store:
    store.add_instance("first")
    for _ in range(3):
        until_started_over(store, names)
    if os.fork() == 0:
        names = itertools.count(100_000)
        for _ in range(2):
            until_started_over(store, names)
        store.close()
        os._exit(0)
    for _ in range(2):
        until_started_over(store, names)
    assert os.wait()[1] == 0
    say("sound", store.check() == [])
""",
        path,
    )
    worker.says("sound", True)
    worker.end()


def test_a_fork_that_cannot_wait_for_a_checkpoint_leaves_the_parent_to_go_on_checkpointing(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    parent = start(
        UNTIL_STARTED_OVER
        + """
import itertools
forks.WAIT_S = 0.01
begun, go_on = threading.Event(), threading.Event()

def slow(self, connection, checkpoint=checkpoints.Checkpointer._checkpoint):
    begun.set()
    go_on.wait()
    checkpoint(self, connection)

checkpoints.Checkpointer._checkpoint = slow
names = itertools.count()
store = SqliteClaimStore(path, durability="process")
while not begun.is_set():
    store.add_instance(f"i{next(names)}", [NewTask("t")])
if os.fork() == 0:
    ask(path, store)
    os._exit(0)
os.wait()
go_on.set()
until_started_over(store, names)
until_started_over(store, names)
say("sound", store.check() == [])
store.close()
""",
        path,
    )
    assert parent.says("own")[0] == "StoreClosedError"
    assert parent.says("new")[0] == "StoreClosedError"
    parent.says("sound", True)
    parent.end()


@pytest.mark.slow
def test_a_long_reader_holds_the_wal_back_and_nothing_else(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("first")
    reader = start(
        """
import apsw
connection = apsw.Connection(args[0])
connection.execute("BEGIN; SELECT count(*) FROM claims_instances")
say("reading")
hear()
connection.execute("COMMIT")
say("done")
hear()
""",
        path,
    )
    reader.says("reading")
    worker = start(
        UNTIL_STARTED_OVER
        + """
import itertools
names = itertools.count()
with SqliteClaimStore(path, durability="process") as store:
    store.add_instance("second")
    before = salt()
    for _ in range(100):
        store.add_instance(f"i{next(names)}", [NewTask("t")])
    say("same", salt() == before)
    hear()
    until_started_over(store, names)
    say("sound", store.check() == [])
""",
        path,
    )
    worker.says("same", True)
    reader.tell()
    reader.says("done")
    worker.tell()
    worker.says("sound", True)
    worker.end()
