"""Each system call of each public operation fails once, and SQLite runs out of memory at each of its allocations. The
call raises an error of this library, no operation is half done, no acknowledged result is missing, and the same store
object can still be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sqlite_claims.sqlite.scan import core_available

from . import each_call

# Number of failing calls of each kind per operation. The soak test makes nearly every call fail once.
EACH_MAX = 4
EACH_MAX_SOAK = 60
GROUPS = 4


def try_each(injector: Path, folder: Path, durability: str, core: str, each_max: int, names: list[str]) -> Counter[str]:
    """Run the trials in a separate process. Return the number of injected faults by system call."""
    ended = subprocess.run(
        [sys.executable, each_call.__file__, injector, folder, durability, core, str(each_max), *names],
        env={**os.environ, "LD_PRELOAD": str(injector), "INJECT_FOLDER": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = json.loads(ended.stdout)
    assert told["found"] == []
    return Counter(told["made"])


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_an_operation_survives_the_failure_of_each_of_its_calls(injector: Path, folder: Path, group: int) -> None:
    names = list(each_call.OPERATIONS)[group::GROUPS]
    made = try_each(injector, folder, "full", "c" if core_available() else "python", EACH_MAX, names)
    futex = {"futex"} if core_available() and "open" in names else set()
    assert made.keys() >= {"open", "read", "write", "sync", "lock", "malloc"} | futex


@pytest.mark.soak
@pytest.mark.parametrize("core", ["c", "python"])
@pytest.mark.parametrize("durability", ["full", "process"])
def test_an_operation_survives_the_failure_of_nearly_each_of_its_calls(
    injector: Path, folder: Path, durability: str, core: str
) -> None:
    if core == "c" and not core_available():
        pytest.skip("the C core is not built")
    made = try_each(injector, folder, durability, core, EACH_MAX_SOAK, list(each_call.OPERATIONS))
    print(f"{sum(made.values()):,} faults: {dict(made)}")


# This program installs the core's hooks on a connection while one of SQLite's allocations fails: in the first round the
# first allocation, in the second round the second, and so on.
INSTALL = """
import ctypes, errno, sys
import apsw
sys.path.insert(0, sys.argv[3])
from each_call import CALLS, sqlites_code
from sqlite_claims.sqlite import c_core

injector = ctypes.CDLL(sys.argv[1])
injector.inject_failed.restype = ctypes.c_long
injector.inject_sqlite(*map(ctypes.c_void_p, sqlites_code()))
core, path = c_core.load(), sys.argv[2] + "/jobs.db"
nth, failed = 0, True
while failed:
    connection = apsw.Connection(path, vfs=c_core.vfs())
    connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE IF NOT EXISTS own (id INTEGER PRIMARY KEY)")
    injector.inject_arm(list(CALLS).index("malloc"), ctypes.c_long(nth), errno.ENOMEM, 0)
    try:
        installed = core.gather_writes(connection, connection.pragma("page_size"), grows=True)
        frames = core.count_frames(connection)
    except apsw.NoMemError:
        installed = False
    failed = injector.inject_failed() > 0
    injector.inject_reset()
    assert installed or failed
    connection.execute("INSERT INTO own VALUES (?)", (nth,))
    other = apsw.Connection(path)
    assert other.execute("SELECT count(*) FROM own").get == nth + 1
    other.close()
    connection.close()
    nth += 1
print(nth - 1)
"""


@pytest.mark.skipif(not core_available(), reason="the C core is not built")
def test_the_core_survives_each_failed_allocation_while_its_hooks_are_installed(injector: Path, folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INSTALL, injector, folder, Path(each_call.__file__).parent],
        env={**os.environ, "LD_PRELOAD": str(injector), "INJECT_FOLDER": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    assert int(ended.stdout) >= 3
