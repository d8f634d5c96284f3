"""A store is opened by its path. A URL is rejected, and no file is created."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlite_claims import InvalidArgumentError, SqliteClaimStore, WorkerPool, durable_map
from sqlite_claims.opening import file_path, open_store

URLS = ["postgresql://localhost/jobs", "postgres://user:secret@localhost", "PostgreSQL://x", "mysql://localhost/jobs"]


def test_a_path_opens_the_store_in_that_file(tmp_path: Path) -> None:
    with open_store(tmp_path / "jobs.db", durability="process") as store:
        assert type(store) is SqliteClaimStore
        assert store.path == str(tmp_path / "jobs.db")


@pytest.mark.parametrize("name", ["jobs.db", "a:b", "c:/d", "./mysql://e", "1st://f", "://g"])
def test_what_has_no_scheme_is_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert file_path(name) == str((tmp_path / name).resolve())


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_refused_and_makes_no_file(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for act in (lambda: open_store(url), lambda: WorkerPool(url, "m:a"), lambda: next(durable_map(str, [1], path=url))):
        with pytest.raises(InvalidArgumentError, match="path must be the path of a file") as raised:
            act()
        assert "secret" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
