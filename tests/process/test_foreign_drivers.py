"""The standard library's driver would drop a store's locks if a program used it to open the file of an open store.
``check`` reports such a connection."""

from __future__ import annotations

from pathlib import Path

from .children import Start


def test_check_notices_the_standard_librarys_connection_to_the_same_file(start: Start, tmp_path: Path) -> None:
    child = start(
        """
import sqlite3
store = SqliteClaimStore(args[0])
say(len(store.check()))
foreign = sqlite3.connect(args[0])
foreign.execute("SELECT count(*) FROM sqlite_schema").fetchall()
say("\\n".join(store.check()))
""",
        tmp_path / "jobs.db",
    )
    child.says("0")
    assert "sqlite3" in child.next_line()
    child.end()


def test_check_takes_none_of_our_own_connections_for_another_drivers(start: Start, tmp_path: Path) -> None:
    child = start(
        """
import sqlite3
from sqlite_claims.sqlite.wal import checkpoints
checkpoints.PASSIVE_FRAMES = 10
path = args[0]
store = SqliteClaimStore(path, durability="process")
for number in range(40):
    store.add_instance(f"i{number}", [NewTask("t")])
say("with a thread that checkpoints", store.check())
others = [SqliteClaimStore(path) for _ in range(5)]
others += [SqliteClaimStore(path, read_only=True) for _ in range(3)]
say("with other stores", store.check())
for other in others:
    other.close()
say("after other stores", store.check())
if os.fork() == 0:
    say("in a forked child", store.check())
    os._exit(0)
os.wait()
say("after a fork", store.check())
store.close()
with SqliteClaimStore(path) as store:
    say("opened again", store.check())
""",
        tmp_path / "jobs.db",
    )
    said = child.rest()
    assert len(said) == 6
    assert [line for line in said if not line.endswith("[]")] == []
    assert child.wait() == 0


def test_check_takes_no_connection_that_is_being_opened_for_another_drivers(start: Start, tmp_path: Path) -> None:
    child = start(
        """
import apsw, sqlite3
store = SqliteClaimStore(args[0])
opening = []
def hook(connection):
    if not opening:  # the check opens a connection and calls this hook, too
        opening.append(connection)
        say("while another is opened", store.check())
        opening.clear()
apsw.connection_hooks.append(hook)
SqliteClaimStore(args[0]).close()
""",
        tmp_path / "jobs.db",
    )
    assert set(child.rest()) == {"while another is opened []"}
    assert child.wait() == 0
