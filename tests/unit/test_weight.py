"""The package imports no module that it does not need, and uses little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sqlite_claims import NewTask, SqliteClaimStore

MIB = 1 << 20
# The memory limit that the documentation promises for edge devices. The limit does not include SQLite's own memory, and
# does not depend on the size of the store.
MEMORY_MAX = 20 * MIB


def told_by(program: str, *args: object) -> str:
    """Run a program in a new Python process. Return its output."""
    command = [sys.executable, "-c", program, *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


RESIDENT = """
import sys
{body}
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""


def resident(body: str, *args: object) -> int:
    """Run the code in a new process. Return the largest amount of memory that the process has used, in bytes."""
    return int(told_by(RESIDENT.format(body=body), *args)) * 1024


def test_importing_the_package_imports_neither_the_command_nor_event_loops_nor_the_other_driver() -> None:
    loaded = set(told_by("import sys, sqlite_claims\nprint(*sys.modules)").split())
    unwanted = {"asyncio", "click", "rich", "sqlite3", "_sqlite3", "ctypes", "multiprocessing", "concurrent.futures"}
    assert loaded & unwanted == set()
    assert {name for name in loaded if name.startswith("sqlite_claims.")} & {
        "sqlite_claims.cli",
        "sqlite_claims.aio",
        "sqlite_claims.testing",
    } == set()


USE = """
from sqlite_claims import SqliteClaimStore
with SqliteClaimStore(sys.argv[1], durability="process") as store:
    for _ in range(20):
        store.find_available_tasks("w", 50)
        claimed = store.claim_available_tasks("w", 50, 60)
        assert len(claimed) == 50
        store.complete_tasks([(one.claim, b"done") for one in claimed])
    store.stats()
"""


def use_a_store_of(tasks: int, path: Path) -> int:
    with SqliteClaimStore(path, durability="process") as store:
        for part in range(0, tasks, 10_000):
            names = range(part, min(part + 10_000, tasks))
            store.add_instance(f"i{part}", [NewTask(f"t{n}", b"input", kind=f"k{n % 7}") for n in names])
    return resident(USE, path) - resident("import apsw")


def test_finding_and_claiming_in_a_store_of_many_tasks_takes_little_memory(tmp_path: Path) -> None:
    assert use_a_store_of(100_000, tmp_path / "jobs.db") < MEMORY_MAX


@pytest.mark.soak
def test_finding_and_claiming_in_a_store_of_a_million_tasks_takes_no_more(tmp_path: Path) -> None:
    assert use_a_store_of(1_000_000, tmp_path / "jobs.db") < MEMORY_MAX
