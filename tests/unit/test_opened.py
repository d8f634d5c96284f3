"""The checks that a store's files are still the files that it opened, on systems with and without /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlite_claims import StoreUnavailableError
from sqlite_claims.sqlite import open_files
from sqlite_claims.sqlite.open_files import OpenedFiles


@pytest.fixture(params=["with /proc", "without /proc"])
def files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OpenedFiles]:
    if request.param == "without /proc":
        monkeypatch.setattr(open_files, "_DESCRIPTORS", "/nowhere")
    descriptors = [os.open(tmp_path / f"jobs.db{suffix}", os.O_RDWR | os.O_CREAT) for suffix in ("", "-wal", "-shm")]
    files = OpenedFiles(str(tmp_path / "jobs.db"))
    files.watch()
    yield files
    for descriptor in descriptors:
        os.close(descriptor)


def test_files_in_their_places_are_no_news(files: OpenedFiles) -> None:
    for _ in range(3):
        files.check()
    assert not files.lost


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_file_that_is_removed_replaced_or_moved_is_told_by_its_name(
    files: OpenedFiles, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"jobs.db{suffix}"
    path.rename(tmp_path / "moved")
    with pytest.raises(StoreUnavailableError, match=f"jobs.db{suffix}: removed or replaced"):
        files.check()
    path.touch()
    with pytest.raises(StoreUnavailableError, match=f"jobs.db{suffix}: removed or replaced"):
        files.check()
    assert files.lost
    assert files.database_lost == (suffix == "")
    assert not files.is_ours_alone()


def test_a_descriptor_that_is_closed_and_used_for_another_file_is_no_loss(tmp_path: Path) -> None:
    """The check uses descriptors of open connections. When such a connection is closed, a descriptor's number may be
    reused for a different file."""
    paths = [tmp_path / f"jobs.db{suffix}" for suffix in ("", "-wal", "-shm")]
    descriptors = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
    files = OpenedFiles(str(tmp_path / "jobs.db"))
    files.watch()
    more = [os.open(path, os.O_RDWR) for path in paths]
    for descriptor in descriptors:
        os.close(descriptor)
        os.open(os.devnull, os.O_RDONLY)
    files.check()
    paths[1].unlink()
    with pytest.raises(StoreUnavailableError, match="removed or replaced"):
        files.check()
    for descriptor in descriptors + more:
        os.close(descriptor)


def test_a_file_that_is_replaced_while_it_is_being_opened_is_lost(tmp_path: Path) -> None:
    paths = [tmp_path / f"jobs.db{suffix}" for suffix in ("", "-wal", "-shm")]
    descriptors = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
    paths[2].unlink()
    with pytest.raises(StoreUnavailableError, match=r"jobs\.db-shm: removed or replaced"):
        OpenedFiles(str(tmp_path / "jobs.db")).watch()
    paths[2].touch()
    with pytest.raises(StoreUnavailableError, match=r"jobs\.db-shm: removed or replaced"):
        OpenedFiles(str(tmp_path / "jobs.db")).watch()
    for descriptor in descriptors:
        os.close(descriptor)
