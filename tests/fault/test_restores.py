"""A backup is restored to the path of a store entirely or not at all. A restore is refused while another process uses
the store. After the restore, new tokens are larger than all earlier tokens."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import stat
from pathlib import Path

import apsw
import pytest

from sqlite_claims import (
    AlreadyExistsError,
    BackendError,
    InvalidArgumentError,
    InvalidStateError,
    NewTask,
    SqliteClaimStore,
    StoreBusyError,
    StoreCorruptError,
    StoreUnavailableError,
    TaskState,
    restore,
)

from ..process.children import Start
from ..tiers import first_is_fast

# A program whose restore stops half-way through the file and continues when the program reads a line of input.
HALTING = """
import apsw
from sqlite_claims.sqlite.maintenance import restoring

class Halting(apsw.Connection):
    def backup(self, *args):
        job = super().backup(*args)
        job.step(1)
        job.step(job.page_count // 2)
        say("half")
        hear()
        return job

def connect(path, **_):
    connection = Halting(path)
    connection.pragma("cache_size", 5)  # so that most pages are in the file when the restore stops
    return connection

restoring.connect = connect
"""
RESTORE = f"{HALTING}\nrestore(args[0], args[1], replace=args[2:] == ['replace'])\nsay('restored')\n"

# A program whose restore stops before it has written anything.
BEFORE = """
from sqlite_claims.sqlite.maintenance import restoring
restoring._check = lambda *_: (say("half"), hear())
restore(args[0], args[1], replace=True)
say("restored")
"""


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Make a backup of a store with one claimed task."""
    path = tmp_path / "backup.db"
    with SqliteClaimStore(tmp_path / "original.db", durability="process") as store:
        store.add_instance("i", [NewTask("held"), NewTask("big", bytes(200_000))])
        store.claim_task("i", "held", "worker", None)
        store.backup(path)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Make a store with different tasks at the path where the backup is to be restored."""
    path = tmp_path / "jobs.db"
    with SqliteClaimStore(path, durability="process") as store:
        store.add_instance("other", [NewTask("t", bytes(100_000))])
    return path


def names(path: Path) -> list[str]:
    with SqliteClaimStore(path, create=False, durability="process") as store:
        assert store.check() == []
        return [info.instance_id for info in store.list_instances()]


def token(path: Path) -> int:
    """Claim the same task again, and return the new token."""
    with SqliteClaimStore(path, create=False, durability="process") as store:
        claim = store.claim_task("i", "held", "worker", None)
        assert claim is not None
        store.release_task(claim)
        return claim.token


def side_files(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir() if found.name.startswith(path.name))


def test_a_restored_backup_is_a_store_with_its_claims_ended_and_larger_tokens(backup: Path, tmp_path: Path) -> None:
    backup.chmod(0o640)
    target = tmp_path / "jobs.db"
    restore(backup, target)
    assert side_files(target) == ["jobs.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    with SqliteClaimStore(tmp_path / "original.db") as store:
        (held,) = store.list_claims()
    assert token(target) > held.token
    with SqliteClaimStore(target) as store:
        assert list(store.list_claims()) == []
        assert store.get_task("i", "held").losses == 0


def test_tokens_are_larger_than_those_of_the_store_that_is_replaced_also_when_it_came_from_the_same_backup(
    backup: Path, tmp_path: Path
) -> None:
    target = tmp_path / "jobs.db"
    restore(backup, target)
    first = token(target)
    for _ in range(3):
        restore(backup, target, replace=True)
        again = token(target)
        assert again > first
        first = again


def test_an_existing_store_is_replaced_only_on_request(backup: Path, other: Path) -> None:
    before = other.read_bytes()
    with pytest.raises(AlreadyExistsError, match="already exists"):
        restore(backup, other)
    assert other.read_bytes() == before
    restore(backup, other, replace=True)
    assert names(other) == ["i"]


def test_an_empty_file_is_as_good_as_none(backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "jobs.db"
    target.touch()
    target.with_name("jobs.db-wal").write_text("of another file")
    with pytest.raises(AlreadyExistsError, match="-wal"):
        restore(backup, target)
    target.with_name("jobs.db-wal").unlink()
    restore(backup, target)
    assert names(target) == ["i"]


@pytest.mark.parametrize(
    ("use", "what"),
    [
        ("store = SqliteClaimStore(args[0], create=False)", "a store open for writing"),
        ("store = SqliteClaimStore(args[0], read_only=True); store.stats()", "a store open for reading"),
        (
            "import apsw; other = apsw.Connection(args[0]); other.execute('SELECT * FROM claims_meta').fetchall()",
            "a connection that is not ours",
        ),
    ],
    ids=lambda text: text if text[0] == "a" else "",
)
def test_a_store_that_a_process_has_open_is_not_replaced(
    start: Start, backup: Path, other: Path, use: str, what: str
) -> None:
    user = start(f"{use}\nsay('open')\nhear()", other)
    user.says("open")
    with pytest.raises(StoreBusyError, match="in use"):
        restore(backup, other, replace=True)
    user.tell()
    user.end()
    assert names(other) == ["other"], what
    restore(backup, other, replace=True)
    assert names(other) == ["i"]


def test_a_store_that_this_process_has_open_is_not_replaced(backup: Path, other: Path) -> None:
    with SqliteClaimStore(other) as store:
        with pytest.raises(StoreBusyError):
            restore(backup, other, replace=True)
        assert store.check() == []
        store.add_instance("still usable")
    assert names(other) == ["other", "still usable"]


def test_a_store_is_not_replaced_while_a_command_of_a_killed_worker_runs(
    start: Start, backup: Path, other: Path
) -> None:
    worker = start(
        """
import subprocess
store = SqliteClaimStore(args[0])
session = store.open_session("worker")
store.claim_available_tasks("worker", ttl=None, session=session)
command = subprocess.Popen(["cat"], stdin=0, pass_fds=[session.fileno()])
say(command.pid)
hear()
""",
        other,
    )
    pid = int(worker.next_line())
    worker.cut_off()
    with pytest.raises(StoreBusyError, match="a command that a worker started"):
        restore(backup, other, replace=True)
    worker.kill()  # closes the pipe from which the command reads
    _gone(pid)
    restore(backup, other, replace=True)
    assert names(other) == ["i"]


def _gone(pid: int) -> None:
    """Wait until a process has ended that is not a child of this process."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [], 60)
        os.close(descriptor)


def test_a_restore_that_is_killed_half_way_leaves_the_store_as_it_was(start: Start, backup: Path, other: Path) -> None:
    killed = start(RESTORE, backup, other, "replace")
    killed.says("half")
    killed.kill()
    assert other.with_name("jobs.db-journal").stat().st_size > 0
    assert names(other) == ["other"]
    restore(backup, other, replace=True)
    assert names(other) == ["i"]


def test_a_restore_that_is_killed_half_way_leaves_no_store_where_there_was_none(
    start: Start, backup: Path, tmp_path: Path
) -> None:
    target = tmp_path / "jobs.db"
    killed = start(RESTORE, backup, target)
    killed.says("half")
    killed.kill()
    restore(backup, target)
    assert names(target) == ["i"]

    target.unlink()
    killed = start(RESTORE, backup, target)
    killed.says("half")
    killed.kill()
    with pytest.raises(StoreUnavailableError):
        SqliteClaimStore(target, create=False)


@pytest.mark.parametrize("program", first_is_fast([RESTORE, BEFORE]), ids=["half way", "before it is written to"])
def test_a_process_that_opens_the_store_meanwhile_waits_and_finds_it_restored(
    start: Start, backup: Path, other: Path, program: str
) -> None:
    restoring = start(program, backup, other, "replace")
    restoring.says("half")
    opening = start(
        """
say("opening")
store = SqliteClaimStore(args[0], create=False, busy_timeout=60)
say(*[info.instance_id for info in store.list_instances()])
""",
        other,
    )
    opening.says("opening")
    assert opening.line_within(0.2) is None
    restoring.tell()
    restoring.says("restored")
    opening.says("i")
    opening.end()
    restoring.end()


def test_a_process_that_forks_meanwhile_leaves_its_child_without_the_store(
    start: Start, backup: Path, other: Path
) -> None:
    forking = start(
        HALTING
        + """
plain_hear = hear
half, go_on = threading.Event(), threading.Event()
hear = lambda: (half.set(), go_on.wait())
thread = threading.Thread(target=restore, args=args[:2], kwargs={"replace": True})
thread.start()
half.wait()
pid = os.fork()
if pid == 0:
    try:
        SqliteClaimStore(args[1])
    except StoreClosedError:
        say("refused")
    os._exit(0)
os.waitpid(pid, 0)
go_on.set()
thread.join()
with SqliteClaimStore(args[1]) as store:
    say("restored", *[info.instance_id for info in store.list_instances()])
""",
        backup,
        other,
    )
    forking.says("half")
    forking.says("refused")
    forking.says("restored", "i")
    forking.end()


def test_a_damaged_backup_is_refused_before_anything_is_replaced(backup: Path, other: Path) -> None:
    with backup.open("r+b") as file:
        file.seek(2048 * 6)
        file.write(os.urandom(2048 * 4))
    with pytest.raises(StoreCorruptError):
        restore(backup, other, replace=True)
    assert names(other) == ["other"]


def test_a_file_that_is_no_backup_is_refused_and_makes_no_store(other: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("these are not the tables you are looking for" * 100)
    apsw.Connection(str(tmp_path / "foreign.db")).execute("CREATE TABLE mine (x)")
    before = sorted(tmp_path.iterdir())
    for name, error in (
        ("text", StoreCorruptError),
        ("foreign.db", StoreUnavailableError),
        ("missing", StoreUnavailableError),
        (".", StoreUnavailableError),
    ):
        with pytest.raises(error):
            restore(tmp_path / name, tmp_path / "new.db")
        with pytest.raises(error):
            restore(tmp_path / name, other, replace=True)
    assert sorted(tmp_path.iterdir()) == before
    assert names(other) == ["other"]


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_file_without_a_store_is_not_replaced_nor_changed(backup: Path, tmp_path: Path, mode: str) -> None:
    foreign = tmp_path / "foreign.db"
    with contextlib.closing(apsw.Connection(str(foreign))) as connection:
        connection.pragma("journal_mode", mode)
        connection.execute("CREATE TABLE mine (x)")
    before = foreign.read_bytes()
    with pytest.raises(StoreUnavailableError):
        restore(backup, foreign, replace=True)
    with pytest.raises(StoreCorruptError):
        restore(backup, Path(__file__), replace=True)
    assert foreign.read_bytes() == before


def test_a_wal_that_a_removed_store_left_is_neither_taken_for_the_new_ones_nor_thrown_away(
    start: Start, backup: Path, other: Path
) -> None:
    writer = start("store = SqliteClaimStore(args[0]); store.add_instance('late'); say('written'); hear()", other)
    writer.says("written")
    writer.kill()
    shutil.move(other, other.with_name("moved.db"))
    with pytest.raises(AlreadyExistsError, match="-wal"):
        restore(backup, other)
    shutil.move(other.with_name("jobs.db-wal"), other.with_name("moved.db-wal"))
    restore(backup, other)
    assert "jobs.db-shm" not in side_files(other)
    assert names(other) == ["i"]
    assert names(other.with_name("moved.db")) == ["other", "late"]


def test_a_closed_store_of_any_kind_can_be_restored_from_also_with_commits_in_its_wal(
    start: Start, other: Path, tmp_path: Path
) -> None:
    writer = start("store = SqliteClaimStore(args[0]); store.add_instance('late'); say('written'); hear()", other)
    writer.says("written")
    writer.kill()
    restore(other, tmp_path / "new.db")
    assert names(tmp_path / "new.db") == ["other", "late"]


def test_a_store_is_not_restored_from_itself(other: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(other)
    with pytest.raises(InvalidArgumentError):
        restore(other, tmp_path / "link.db", replace=True)
    assert names(other) == ["other"]


def test_a_backup_that_may_only_be_read_can_be_restored(backup: Path, tmp_path: Path) -> None:
    backup.chmod(0o400)
    restore(backup, tmp_path / "jobs.db")
    assert stat.S_IMODE((tmp_path / "jobs.db").stat().st_mode) == 0o600
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        assert store.stats().counts[TaskState.READY] == 2


def test_a_full_disk_ends_a_restore_with_nothing_changed(backup: Path, other: Path) -> None:
    import resource
    import signal

    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, kept[1]))
    try:
        with pytest.raises(BackendError, match="full"):
            restore(backup, other, replace=True)
        with pytest.raises(BackendError, match="full"):
            restore(backup, other.with_name("new.db"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        signal.signal(signal.SIGXFSZ, handler)
    assert names(other) == ["other"]
    assert side_files(other.with_name("new.db")) == []
    assert not list(other.parent.glob("*.partial"))


def test_within_a_transaction_of_the_target_it_is_refused(backup: Path, other: Path) -> None:
    with SqliteClaimStore(other) as store, store.transaction() as tx:
        tx.add_instance("late")
        with pytest.raises((StoreBusyError, InvalidStateError)):
            restore(backup, other, replace=True)
    assert names(other) == ["other", "late"]
