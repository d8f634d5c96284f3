"""A fork while another thread runs a scan. In the child, SQLite's mutex is still locked by that thread, which does not
exist there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys, threading
from sqlite_claims import NewTask, SqliteClaimStore, StoreClosedError

store = SqliteClaimStore(sys.argv[1], use_c_core=sys.argv[2] == "c")
store.add_instance("i", [NewTask(f"t{number}") for number in range(50)])
under_way, go_on = threading.Event(), threading.Event()

def pause_within_the_scan():
    under_way.set()
    go_on.wait()
    return False

store._db.connection.set_progress_handler(pause_within_the_scan, 100)
thread = threading.Thread(target=store.find_available_tasks, args=("w", 10))
thread.start()
under_way.wait()
child = os.fork()
if child == 0:
    try:
        store.find_available_tasks("w", 1)
    except StoreClosedError:
        os._exit(7)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
go_on.set()
thread.join()
store.close()
"""


def test_the_child_of_a_fork_amidst_a_scan_neither_hangs_nor_touches_the_file(tmp_path: Path, use_c_core: bool) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path / "a.db"), "c" if use_c_core else "python"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
