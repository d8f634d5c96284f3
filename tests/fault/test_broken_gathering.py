"""The tests of gathered commits are tried on a C core that is broken on purpose: each fault must make one of them fail.
SQLite's own tests, run on such a core, don't notice most of these."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ..conftest import WITH_CORE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not WITH_CORE, reason="there is no C core here")]

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
TESTS = ["tests/fault/test_gathering_ends.py", "tests/fault/test_gathered_commits.py"]

# Planted faults in wal_file.c: the text to replace, and its replacement.
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
}

# Takes the place of the core that is installed, in the processes that the tests start, too.
AT_START = """
import sys
from importlib.util import module_from_spec, spec_from_file_location

name = "sqlite_claims.sqlite._core"
spec = spec_from_file_location(name, {path!r})
sys.modules[name] = module_from_spec(spec)
spec.loader.exec_module(sys.modules[name])
"""


@pytest.fixture(scope="session")
def wrapper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C wrapper that cffi generates from the header."""
    made = tmp_path_factory.mktemp("wrapper") / "_core.c"
    program = f"import build_core; build_core.ffibuilder.emit_c_code({str(made)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=CSRC, check=True, capture_output=True)
    return made


def run_tests(source: str, wrapper: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests on a core with this ``wal_file.c``."""
    (folder / "wal_file.c").write_text(source)
    core = folder / "_core.abi3.so"
    others = [CSRC / f"{name}.c" for name in ("extension", "scan", "doorbell", "frames")]
    compiler = (os.environ.get("CC") or "cc").split()
    options = ["-w", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{CSRC}", f"-I{sysconfig.get_path('include')}"]
    subprocess.run([*compiler, *options, "-o", core, wrapper, folder / "wal_file.c", *others], check=True)
    (folder / "sitecustomize.py").write_text(AT_START.format(path=str(core)))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, f"--basetemp={folder / 'tests'}", *TESTS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_core_that_is_broken_on_purpose_fails_the_tests(fault: str, wrapper: Path, tmp_path: Path) -> None:
    source = (CSRC / "wal_file.c").read_text()
    whole, broken = FAULTS[fault]
    assert source.count(whole) == 1
    done = run_tests(source.replace(whole, broken), wrapper, tmp_path)
    assert done.returncode in (1, -6, -11), done.stdout + done.stderr


def test_built_in_the_same_way_the_core_passes_them(wrapper: Path, tmp_path: Path) -> None:
    done = run_tests((CSRC / "wal_file.c").read_text(), wrapper, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
