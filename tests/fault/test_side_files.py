"""Files of other programs that have the names of a store's side files. The store never writes to such a file, never
waits for a lock on such a file, and reports the file."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore, StoreUnavailableError
from sqlite_claims.sqlite.files import side_files
from sqlite_claims.sqlite.files.side_files import open_beside, open_to_read
from sqlite_claims.sqlite.sessions.session_file import SessionFile
from sqlite_claims.testing import ManualClock

PRECIOUS = b"precious" * 8


def link(path: Path) -> None:
    path.symlink_to(path.parent / "victim")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


STRANGE: list[Callable[[Path], None]] = [link, dangling, fifo, folder, listening]


@pytest.mark.parametrize("make", STRANGE)
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-sessions", "-bell"])
@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "reading"])
def test_a_file_that_is_no_plain_file_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None], suffix: str, read_only: bool
) -> None:
    path, victim = tmp_path / "jobs.db", tmp_path / "victim"
    SqliteClaimStore(path).close()
    victim.write_bytes(PRECIOUS)
    (tmp_path / f"jobs.db{suffix}").unlink(missing_ok=True)
    make(tmp_path / f"jobs.db{suffix}")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(StoreUnavailableError, match=rf"jobs\.db{suffix}: (a symbolic link|not a regular file)"):
        SqliteClaimStore(path, read_only=read_only)
    assert victim.read_bytes() == PRECIOUS
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("make", STRANGE)
@pytest.mark.parametrize("suffix", ["-sessions", "-bell"])
def test_a_file_put_there_after_that_check_is_refused_as_well(
    tmp_path: Path, make: Callable[[Path], None], suffix: str
) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    (tmp_path / "victim").write_bytes(PRECIOUS)
    make(tmp_path / f"jobs.db{suffix}")
    for open_it in (open_beside, open_to_read):
        with pytest.raises(StoreUnavailableError, match=rf"jobs\.db{suffix}: (a symbolic link|not a regular file)"):
            open_it(str(path), suffix, 4096)
    assert (tmp_path / "victim").read_bytes() == PRECIOUS


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "reading"])
@pytest.mark.parametrize("error", [errno.EACCES, errno.EMFILE])
def test_a_sessions_file_that_cannot_be_read_is_told_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, read_only: bool
) -> None:
    path = tmp_path / "jobs.db"
    SqliteClaimStore(path).close()
    real = os.open

    def fail(name: object, *args: int) -> int:
        if str(name).endswith("-sessions"):
            raise OSError(error, os.strerror(error), name)
        return real(str(name), *args)

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StoreUnavailableError, match=rf"jobs\.db-sessions: cannot be read \({os.strerror(error)}\)"):
        SqliteClaimStore(path, read_only=read_only)


def test_a_removed_sessions_file_that_cannot_be_made_anew_is_told_and_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The call has taken effect, so the call must not raise an error."""
    path, clock, failing = tmp_path / "jobs.db", ManualClock(), True
    real = side_files.open_beside

    def full(store: str, suffix: str, size_max: int) -> int:
        if failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{path}-sessions")
        return real(store, suffix, size_max)

    with SqliteClaimStore(path, clock=clock) as store, store.open_session("worker"):
        (tmp_path / "jobs.db-sessions").unlink()
        monkeypatch.setattr("sqlite_claims.sqlite.sessions.session_file.open_beside", full)
        for number in range(3):
            clock.advance(1)
            assert store.add_instance(f"i{number}")
            clock.advance(1)
            assert store.stats()
        assert store.check() == []
        told = [record.message for record in caplog.records]
        assert len(told) == 1
        assert "cannot be created again (OSError: [Errno 28]" in told[0]
        failing = False
        clock.advance(1)
        assert store.stats()
        assert (tmp_path / "jobs.db-sessions").exists()
        assert [worker.alive for worker in store.list_workers()] == [True]


def test_a_sessions_file_made_where_there_was_no_room_to_fill_it_is_filled_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the file lacks its contents, the store prunes no instance and reports no worker as dead."""
    clock = ManualClock()
    with SqliteClaimStore(tmp_path / "jobs.db", clock=clock) as store:
        store.add_instance("i")
        store.cancel_instance("i")
        (tmp_path / "jobs.db-sessions").unlink()
        with monkeypatch.context() as full:
            full.setattr(SessionFile, "begin", lambda *_: None)
            clock.advance(1)
            assert store.stats()
            clock.advance(1)
            assert store.prune(0) == 0
        clock.advance(1)
        assert store.stats()
        clock.advance(61)
        assert store.prune(0) == 1


@pytest.mark.parametrize("suffix", ["-sessions", "-bell"])
def test_a_file_that_is_too_long_is_refused_and_left_alone(tmp_path: Path, suffix: str) -> None:
    path, other = tmp_path / "jobs.db", tmp_path / f"jobs.db{suffix}"
    SqliteClaimStore(path).close()
    other.unlink(missing_ok=True)
    os.link(path, other)
    data = path.read_bytes()
    with pytest.raises(StoreUnavailableError, match=rf"jobs\.db{suffix}: {len(data)} bytes long"):
        side_files.open_beside(str(path), suffix, 4096)
    assert path.read_bytes() == data


def test_a_file_of_a_strange_owner_is_told_and_refused_if_nobody_trusted_made_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    monkeypatch.setattr(side_files, "_warned", set())
    path, sessions = tmp_path / "jobs.db", tmp_path / "jobs.db-sessions"
    SqliteClaimStore(path).close()
    os.chown(sessions, 4321, -1)
    with pytest.raises(StoreUnavailableError, match=r"jobs\.db-sessions: owned by user 4321, but .* user 0"):
        SqliteClaimStore(path)
    os.chown(path, 4321, -1)
    with caplog.at_level(logging.WARNING):
        SqliteClaimStore(path).close()
        assert [record for record in caplog.records if "-sessions" in record.message] == []
        os.chown(sessions, 0, -1)
        for _ in range(2):
            SqliteClaimStore(path).close()
    told = [record.message for record in caplog.records if "-sessions" in record.message]
    assert told == [f"{sessions}: owned by user 0, but the store belongs to user 4321"]
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    SqliteClaimStore(path).close()
