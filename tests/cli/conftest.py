"""Functions that run the command ``sqlite-claims`` within the test's own process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims.cli.app import run
from sqlite_claims.sqlite.store import SqliteClaimStore


@dataclass(frozen=True, slots=True)
class Result:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """The command ``sqlite-claims`` on one file."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.db = folder / "jobs.db"
        self._capture = capture

    def __call__(self, command: str, *args: object) -> Result:
        """Run ``sqlite-claims COMMAND jobs.db ARGS``."""
        return self.raw(command, self.db, *args)

    def raw(self, *args: object) -> Result:
        self._capture.readouterr()
        status = run([str(arg) for arg in args])
        out, err = self._capture.readouterr()
        return Result(status, out, err)

    def file(self, name: str, content: str | bytes) -> Path:
        """Make a file that a command can read."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def store(self) -> SqliteClaimStore:
        return SqliteClaimStore(self.db)


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capfd)
