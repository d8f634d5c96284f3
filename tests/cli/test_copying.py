"""``backup`` and ``restore``: messages for wrong names, and no files left behind if the command is interrupted."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import sqlite_claims
from sqlite_claims.cli.app import _ADVICE_FOR_THE_SHELL, for_the_shell

from ..tiers import first_is_fast
from .conftest import Cli

# This program runs the command, and interrupts it after the first bytes of the copy are written.
SCRIPT = """
import os, signal, sys
from sqlite_claims.cli.app import run
from sqlite_claims.sqlite.maintenance import backup, restoring

def copy_to(new, *args, **kwargs):
    with open(new, "ab") as file:
        file.write(b"some of it")
    os.kill(os.getpid(), int(sys.argv[1]))
    raise AssertionError("it was not ended")

backup.copy_to = restoring.copy_to = copy_to
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.parametrize("number", first_is_fast([signal.SIGTERM, signal.SIGHUP]))
@pytest.mark.parametrize("command", first_is_fast(["backup jobs.db out.db", "restore made.db out.db"]))
def test_a_copy_that_is_ended_by_a_signal_leaves_nothing_behind(cli: Cli, command: str, number: int) -> None:
    with cli.store() as store:
        store.add_instance("i")
        store.backup(cli.folder / "made.db")
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(int(number)), *command.split()],
        cwd=cli.folder, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (128 + number, b"")
    assert [name for name in os.listdir(cli.folder) if name.startswith("out.db")] == []


def test_a_backup_that_is_missing_is_not_one_that_add_makes(cli: Cli) -> None:
    result = cli.raw("restore", cli.folder / "missing.db", cli.db)
    assert (result.status, result.err) == (2, f"sqlite-claims: {cli.folder}/missing.db: file not found\n")
    assert list(cli.folder.iterdir()) == []


@pytest.mark.parametrize("foreign", ["backup", "target"])
def test_a_database_that_is_no_store_is_not_one_that_add_would_complete(cli: Cli, foreign: str) -> None:
    with cli.store() as store:
        store.add_instance("i")
    other = cli.folder / "other.db"
    connection = apsw.Connection(os.fspath(other))
    connection.execute("CREATE TABLE mine (a)")
    connection.close()
    source, target = (other, cli.folder / "new.db") if foreign == "backup" else (cli.db, other)
    result = cli.raw("restore", source, target, "--replace")
    assert (result.status, result.err) == (2, f"sqlite-claims: {other}: an SQLite database without a claim store\n")


@pytest.mark.parametrize("advice", _ADVICE_FOR_THE_SHELL)
def test_advice_for_programs_is_replaced_by_the_commands_to_use(advice: str) -> None:
    engine = Path(sqlite_claims.__file__).parent / "sqlite"
    nodes = [node for path in engine.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert any(advice in text for text in texts), "no message of the engine contains this advice any more"
    shown = for_the_shell(f"jobs.db: cannot be opened{advice}")
    assert shown == f"jobs.db: cannot be opened{_ADVICE_FOR_THE_SHELL[advice]}"
