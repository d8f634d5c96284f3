"""Programs with more open files than ``select`` supports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..tiers import first_is_fast
from .pool_runs import ENVIRONMENT, PATIENCE

PROGRAM = """
import json, os, resource, sys, threading

from sqlite_claims import NewTask, PooledWorker, SqliteClaimStore, WorkerPool

def handler(task):
    return b"ok"

def main(what, path):
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    with SqliteClaimStore(path) as store:
        store.add_instance("i", [NewTask(str(n)) for n in range(3)])
        if what == "worker":
            print(PooledWorker(store, handler).run(until_idle=True).completed)
        elif what == "pool":
            print(WorkerPool(path, handler, processes=1).run(until_idle=True).completed)
        else:  # on a second thread, the pool waits without the main thread's signal handlers
            run = lambda: print(WorkerPool(path, handler, processes=1).run(until_idle=True).completed)
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize("what", first_is_fast(["worker", "pool", "pool on a thread"]))
def test_workers_run_in_a_program_with_more_than_1024_open_files(tmp_path: Path, what: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, str(program), what, str(tmp_path / "s.db")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("3\n", "")


COMMAND = """
import os, resource, sys

resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
from sqlite_claims.cli import main
main()
"""


def test_the_map_command_writes_to_an_output_that_is_not_ready_yet_with_so_many_files(tmp_path: Path) -> None:
    """The process that reads the output of ``map`` has made their common pipe non-blocking."""
    import os

    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    command = [sys.executable, "-c", COMMAND, "map", str(tmp_path / "s.db"), "-j", "1", "--"]
    with subprocess.Popen(
        [*command, sys.executable, "-c", "import sys; print(sys.argv[1] * 300_000)", "{}"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=writable,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writable)
        assert process.stdin is not None
        process.stdin.write(json.dumps(7).encode() + b"\n")
        process.stdin.close()
        with os.fdopen(readable, "rb") as output:
            assert output.read() == b"7" * 300_000 + b"\n"
        assert process.wait(PATIENCE) == 0
