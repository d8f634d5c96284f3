"""Run the tests of gathered commits on C cores that contain planted faults. Each planted fault must make at least one
of the tests fail. SQLite's own test suite does not detect most of these faults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..built_core import ROOT, Changes, build
from ..conftest import WITH_CORE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not WITH_CORE, reason="there is no C core here")]

TESTS = [f"tests/fault/test_{name}.py" for name in ("gathering_ends", "gathered_commits", "gathered_failures")]

# Planted faults in wal_file.c: the text to replace, and the new text.
FAULTS = {
    "an empty commit lets the next statement be held": (
        "commit->committing = spilled(commit->db) == commit->spilled;",
        "commit->committing = 1;",
    ),
    "what is written before the commit is held": (
        "!commit->committing || !sqlite3_get_autocommit(commit->db)",
        "(commit->over && !commit->committing)",
    ),
    "the last frame is held when the commit is over": (
        "code = write_held(file);\n  commit->committing = commit->frame_commits = 0;\n  return code;",
        "commit->committing = commit->frame_commits = 0;\n  return SQLITE_OK;",
    ),
    "a rollback keeps what is held": (
        "gathering *commit = argument;\n  commit->committing = commit->held_len = commit->frame_commits = 0;",
        "(void)argument;",
    ),
    "a write that failed is told as done": (
        "if (code != SQLITE_OK) commit->committing = 0;\n  return code;",
        "return (void)code, SQLITE_OK;",
    ),
    "a commit that has not ended is passed over": (
        'return fail(commit, "by the next commit");',
        "commit->held_len = 0;",
    ),
    "held bytes are dropped in silence": (
        'return fail(commit, "by the next call");',
        "return commit->held_len = 0, SQLITE_OK;",
    ),
    "any piece is taken for one of a frame": (
        "  commit->over = 1;\n  return 0;\n}\n\nstatic int wal_write",
        "  return 1;\n}\n\nstatic int wal_write",
    ),
    "a commit larger than the buffer is held altogether": (
        " && len <= HELD_MAX - commit->held_len;",
        ";",
    ),
}


def run_tests(folder: Path, changes: Changes) -> subprocess.CompletedProcess[str]:
    """Run the tests on a C core with these changes."""
    folder = folder / "core"
    folder.mkdir()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, f"--basetemp={folder / 'tests'}", *TESTS],
        cwd=ROOT,
        env=build(folder, [], changes),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_core_that_is_broken_on_purpose_fails_the_tests(fault: str, tmp_path: Path) -> None:
    done = run_tests(tmp_path, {"wal_file.c": FAULTS[fault]})
    assert done.returncode in (1, -6, -11), done.stdout + done.stderr


def test_built_in_the_same_way_the_core_passes_them(tmp_path: Path) -> None:
    done = run_tests(tmp_path, {})
    assert done.returncode == 0, done.stdout + done.stderr
