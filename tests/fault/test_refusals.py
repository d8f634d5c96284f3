"""Paths and files that are not stores. A call that opens such a path raises the expected error, changes no file and
creates no file."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest

from sqlite_claims import (
    InvalidArgumentError,
    NewTask,
    SchemaVersionError,
    SqliteClaimStore,
    StoreCorruptError,
    StoreUnavailableError,
)
from sqlite_claims.sqlite import schema
from sqlite_claims.sqlite.files import paths

from ..process.children import Start


def looks(folder: Path) -> dict[str, bytes]:
    """Return the names and contents of all files in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def plain_database(path: Path, *, wal: bool = False) -> None:
    """Make a SQLite database of an application."""
    connection = apsw.Connection(str(path))
    if wal:
        connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
    connection.execute("INSERT INTO orders VALUES (1, 'kept')")
    connection.close()


def newer_store(path: Path) -> None:
    SqliteClaimStore(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE claims_meta SET schema_version = ?", (schema.VERSION + 1,))
    connection.close()
    for side in path.parent.glob(f"{path.name}-*"):
        side.unlink()


def refused(path: Path, error: type[Exception], match: str | None = None, **options: Any) -> None:
    """Assert that the call that opens the store raises this error and changes nothing in the folder."""
    before = looks(path.parent) if path.parent.is_dir() else {}
    with pytest.raises(error, match=match):
        SqliteClaimStore(path, **options)
    assert (looks(path.parent) if path.parent.is_dir() else {}) == before


MODES = [{}, {"create": False}, {"read_only": True}]


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize(
    "content",
    [
        b"just a text file, though quite a long one\n" * 100,
        b"short",
        b"SQLite format 3\0" + bytes(84),
        os.urandom(8192),
    ],
    ids=["text", "short", "header only", "noise"],
)
def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path, content: bytes, options: Any) -> None:
    path = tmp_path / "jobs.db"
    path.write_bytes(content)
    refused(path, StoreCorruptError, **options)


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}], ids=str)
@pytest.mark.parametrize("wal", [False, True], ids=["rollback journal", "wal"])
def test_a_database_without_our_tables_is_no_store_unless_it_may_become_one(
    tmp_path: Path, wal: bool, options: Any
) -> None:
    path = tmp_path / "app.db"
    plain_database(path, wal=wal)
    refused(path, StoreUnavailableError, "without a claim store", **options)
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t")])
        with store.transaction() as tx:
            assert tx.execute("SELECT * FROM orders") == [(1, "kept")]
        assert store.check() == []


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}], ids=str)
def test_an_empty_file_is_no_store_unless_it_may_become_one(tmp_path: Path, options: Any) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    refused(path, StoreUnavailableError, "without a claim store", **options)
    with SqliteClaimStore(path) as store:
        assert store.add_instance("i")


@pytest.mark.parametrize("options", MODES, ids=str)
def test_a_newer_schema_is_refused_and_the_file_left_as_it_is(tmp_path: Path, options: Any) -> None:
    path = tmp_path / "jobs.db"
    newer_store(path)
    refused(path, SchemaVersionError, f"version {schema.VERSION + 1}", **options)


@pytest.mark.parametrize("options", MODES, ids=str)
def test_a_newer_schema_whose_last_commits_are_still_in_the_wal_is_left_as_it_is_too(
    start: Start, tmp_path: Path, options: Any
) -> None:
    path = tmp_path / "jobs.db"
    SqliteClaimStore(path).close()
    killed = start(
        """
import apsw
connection = apsw.Connection(args[0])
connection.execute("UPDATE claims_meta SET schema_version = schema_version + 1")
say("updated")
hear()
""",
        path,
    )
    killed.says("updated")
    killed.kill()
    before = {name: data for name, data in looks(tmp_path).items() if not name.endswith("-shm")}
    assert before["jobs.db-wal"]
    with pytest.raises(SchemaVersionError):
        SqliteClaimStore(path, **options)
    after = {name: data for name, data in looks(tmp_path).items() if not name.endswith("-shm")}
    assert after == before


@pytest.mark.parametrize("options", MODES, ids=str)
def test_a_path_in_no_folder_is_refused(tmp_path: Path, options: Any) -> None:
    refused(tmp_path / "missing" / "jobs.db", StoreUnavailableError, "no folder", **options)


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}], ids=str)
def test_a_missing_file_is_refused_where_it_may_not_be_made(tmp_path: Path, options: Any) -> None:
    refused(tmp_path / "typo.db", StoreUnavailableError, "file not found", **options)


def test_a_path_that_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("folder", "fifo"):
        with pytest.raises(StoreUnavailableError, match="not a regular file"):
            SqliteClaimStore(tmp_path / name)
    with pytest.raises(StoreUnavailableError):
        SqliteClaimStore(tmp_path / "fifo" / "jobs.db")
    with pytest.raises(StoreUnavailableError):
        SqliteClaimStore(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    "path", ["", ":memory:", b"", "a\0b", b"\xff.db", "\ud800", None, 3, True, ["jobs.db"]], ids=repr
)
def test_a_value_that_is_no_path_is_an_invalid_argument(path: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="path"):
        SqliteClaimStore(path)


def test_a_path_may_be_bytes_relative_or_a_link_and_is_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to("jobs.db")
    SqliteClaimStore("jobs.db").close()
    names: list[Any] = [b"jobs.db", "link.db", tmp_path / "link.db", "./jobs.db"]
    for path in names:
        with SqliteClaimStore(path) as store:
            assert store.path == str(tmp_path / "jobs.db")


# Fields: id, parent, device, root, mount point, options, optional fields, separator, type, source, options.
MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:20 / /srv rw - nfs4 server:/export rw
24 23 8:2 / /srv/local rw shared:2 master:3 - xfs /dev/sdb rw
25 22 0:21 / /with\040space rw - cifs //server/share rw
26 22 0:22 / /mnt rw - fuse.sshfs me@host:/ rw
27 26 0:23 / /mnt rw - tmpfs none rw
28 22 0:24 / /back\134slash rw - 9p hostshare rw
29 22 0:25 / /dash rw - virtiofs a - b rw
this line is no mount

31 22 0:26
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/home/me", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/jobs", "nfs4"),
        ("/srv2", "ext4"),
        ("/srv/local/jobs", "xfs"),
        ("/srv/local2", "nfs4"),
        ("/with space/x", "cifs"),
        ("/mnt/x", "tmpfs"),
        ("/back\\slash", "9p"),
        ("/dash", "virtiofs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_innermost_mount(tmp_path: Path, folder: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert paths.file_system(folder, str(mounts)) == kind


def test_without_a_list_of_mounts_no_file_system_is_told(tmp_path: Path) -> None:
    assert paths.file_system("/", str(tmp_path / "none")) == ""


def test_a_store_that_is_mounted_as_a_single_file_is_refused(tmp_path: Path, mount: Callable[..., Path]) -> None:
    outside = mount() / "jobs.db"
    SqliteClaimStore(outside).close()
    inside = tmp_path / "inside" / "jobs.db"
    inside.parent.mkdir()
    inside.touch()
    subprocess.run(["mount", "--bind", outside, inside], check=True)
    try:
        refused(inside, StoreUnavailableError, "mount the folder")
    finally:
        subprocess.run(["umount", inside], check=True)
    SqliteClaimStore(outside).close()


def test_check_tells_of_a_second_name_for_the_file(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        (tmp_path / "other.db").hardlink_to(tmp_path / "jobs.db")
        assert ["has 2 names" in finding for finding in store.check()] == [True]
        (tmp_path / "other.db").unlink()
        assert store.check() == []


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "virtiofs", "ceph", "glusterfs"])
def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(paths, "_file_system", lambda *_: kind)
    refused(tmp_path / "jobs.db", StoreUnavailableError, f"network file system .{kind}.")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs", "fuseblk", ""])
def test_a_local_file_system_is_welcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(paths, "_file_system", lambda *_: kind)
    SqliteClaimStore(tmp_path / "jobs.db").close()


def test_side_files_have_the_permissions_of_the_store_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    path.chmod(0o664)
    before = os.umask(0o077)
    try:
        with SqliteClaimStore(path) as store:
            store.add_instance("i")
            sides = {side.name: stat.S_IMODE(side.stat().st_mode) for side in tmp_path.iterdir()}
            assert store.check() == []
    finally:
        os.umask(before)
    assert len(sides) >= 4
    assert set(sides.values()) == {0o664}


def test_a_backup_is_no_more_open_to_others_than_the_store(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    path.chmod(0o600)
    with SqliteClaimStore(path) as store:
        store.backup(tmp_path / "copy.db")
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600


# This program changes its user id. The program imports all modules first, because the new user may not be able to read
# Python's installation.
AS_NOBODY = """
import tempfile
with tempfile.TemporaryDirectory() as warm:
    SqliteClaimStore(warm + "/warm.db").close()
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
def attempt(what, *words):
    try:
        say(what(), *words)
    except BaseException as error:
        say(type(error).__name__, error)
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def shared() -> Iterator[Callable[[int], Path]]:
    """Return a function that makes a folder with these permissions. All users can reach the folder.

    The folder is outside of pytest's own folder, which each start of another pytest closes to other users.
    """
    with ExitStack() as folders:

        def make(mode: int) -> Path:
            folder = Path(folders.enter_context(TemporaryDirectory()))
            folder.chmod(mode)
            return folder

        yield make


@needs_root
def test_without_permission_to_write_the_folder_or_the_file_a_store_is_unavailable_but_for_reading(
    start: Start, shared: Callable[[int], Path]
) -> None:
    folder = shared(0o755)
    SqliteClaimStore(folder / "there.db").close()
    (folder / "there.db").chmod(0o600)
    SqliteClaimStore(folder / "readable.db").close()
    (folder / "readable.db").chmod(0o644)
    before = looks(folder)
    nobody = start(
        AS_NOBODY
        + """
for path in args:
    for options in ({}, {"create": False}, {"read_only": True}):
        attempt(lambda: SqliteClaimStore(path, **options))
""",
        folder / "new.db",
        folder / "there.db",
        folder / "readable.db",
    )
    said = nobody.rest()
    assert len(said) == 9
    assert [line.split("(")[0] for line in said if not line.startswith("StoreUnavailableError")] == ["SqliteClaimStore"]
    assert said[-1] == f"SqliteClaimStore('{folder / 'readable.db'}')"
    assert looks(folder) == before


@needs_root
def test_a_process_that_may_only_read_can_read_while_the_store_is_in_use(
    start: Start, shared: Callable[[int], Path]
) -> None:
    path = shared(0o755) / "jobs.db"
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t")])
        nobody = start(
            AS_NOBODY
            + """
store = SqliteClaimStore(args[0], read_only=True)
attempt(lambda: store.get_task("i", "t").state)
attempt(lambda: len(store.find_available_tasks("nobody", 5)))
attempt(lambda: store.add_instance("j"))
""",
            path,
        )
        assert nobody.next_line() == "ready"
        assert nobody.next_line() == "1"
        assert nobody.next_line().startswith("InvalidStateError")


@needs_root
def test_root_that_looks_into_a_store_first_does_not_lock_its_owner_out(
    start: Start, shared: Callable[[int], Path]
) -> None:
    folder = shared(0o777)
    path = folder / "jobs.db"
    plain_database(path)
    os.chown(path, 65534, 65534)
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask("t")])
        assert {(side.stat().st_uid, side.stat().st_gid) for side in folder.iterdir()} == {(65534, 65534)}
    nobody = start(
        AS_NOBODY
        + """
attempt(lambda: SqliteClaimStore(args[0]).add_instance("j"))
""",
        path,
    )
    assert nobody.next_line() == "True"


def test_a_read_only_file_system_makes_a_store_unavailable(mount: Callable[..., Path]) -> None:
    folder = mount()
    SqliteClaimStore(folder / "jobs.db").close()
    before = looks(folder)
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    for path, options in [("jobs.db", {}), ("jobs.db", {"create": False}), ("new.db", {})]:
        with pytest.raises(StoreUnavailableError):
            SqliteClaimStore(folder / path, **options)  # type: ignore[arg-type]
    assert looks(folder) == before
