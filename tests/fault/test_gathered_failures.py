"""If a write of a gathered commit fails, no part of that commit remains in the files, and the connection can still be
used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import WITH_CORE

pytestmark = pytest.mark.skipif(not WITH_CORE, reason="there is no C core here")


FAILING = """
import os, random, shutil, sys
import apsw

calls, failing = 0, 0

class File(apsw.VFSFile):
    def __init__(self, name, flags):
        super().__init__("unix", name, flags)

    def xWrite(self, data, offset):
        global calls
        zeros = not data.strip(bytes(1))  # the core ignores failures of such writes, but apsw would raise them
        calls += not zeros
        if calls == failing and not zeros:
            if offset and failing % 2:
                super().xWrite(data[: len(data) // 2], offset)
            raise apsw.FullError if failing % 3 else apsw.IOError
        super().xWrite(data, offset)

class Vfs(apsw.VFS):
    def __init__(self):
        super().__init__("failing", "unix", makedefault=True)

    def xOpen(self, name, flags):
        return File(name, flags) if flags[0] & apsw.SQLITE_OPEN_WAL else super().xOpen(name, flags)

vfs = Vfs()
from sqlite_claims.sqlite import c_core  # imported here, because the core's VFS uses the default VFS
core = c_core.load()
lib, ffi = core.lib, core.ffi

def found(path):
    for suffix in ("", "-wal"):
        shutil.copy(path + suffix, path + "-copy" + suffix)
    copy = apsw.Connection(path + "-copy", vfs="unix")
    rows = dict(copy.execute("SELECT id, data FROM own").fetchall())
    assert copy.pragma("integrity_check") == "ok"
    copy.close()
    for suffix in ("", "-wal"):
        if os.path.exists(path + "-copy" + suffix):
            os.unlink(path + "-copy" + suffix)
    return rows

def run(path, seed, grows):
    global calls, failing
    choose = random.Random(seed)
    wanted_failure, failing = failing, 0
    connection = apsw.Connection(path, vfs=c_core.vfs())
    connection.pragma("page_size", 1024)
    connection.pragma("journal_mode", "wal")
    connection.wal_autocheckpoint(0)
    connection.pragma("cache_size", 30)
    connection.execute("CREATE TABLE own (id INTEGER PRIMARY KEY, data BLOB)")
    assert lib.claims_wal_install(ffi.cast("sqlite3 *", connection.sqlite3_pointer()), 1024, grows) == 0
    calls, failing, failed, there = 0, wanted_failure, 0, {}
    for number in range(14):
        wanted = dict(there)
        many = (1, 1, 3, 25, 100, 0, 2)[number % 7]
        if many == 100:
            connection.pragma("cache_size", 1000)  # a commit that is larger than the core's buffer
        try:
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(many):
                id, data = choose.randrange(200), choose.randbytes(choose.choice((1, 100, 900, 3000)))
                connection.execute("INSERT OR REPLACE INTO own VALUES (?, ?)", (id, data))
                wanted[id] = data
            connection.execute("COMMIT")
        except (apsw.FullError, apsw.IOError):
            failed += 1
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        else:
            there = wanted
        if many == 100:
            connection.pragma("cache_size", 30)
        if failing and calls >= failing:
            assert found(path) == there, (failing, number)
    assert found(path) == there, failing
    assert connection.execute("SELECT claims_gathers()").get == 1
    assert dict(connection.execute("SELECT id, data FROM own").fetchall()) == there
    connection.close()
    return failed

for grows in (0, 1):
    failing = 1
    while True:
        calls = 0
        failed = run(f"{sys.argv[1]}/{grows}-{failing}.db", 7, grows)
        if calls < failing:
            break
        assert failed == 1, failing
        failing += 1
    print("writes that failed in turn:", failing - 1)
"""


def test_a_commit_of_which_any_write_fails_leaves_nothing_and_the_connection_goes_on(folder: Path) -> None:
    command = [sys.executable, "-c", FAILING, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    counts = [int(line.rpartition(" ")[2]) for line in done.stdout.splitlines()]
    assert len(counts) == 2
    assert min(counts) > 15
