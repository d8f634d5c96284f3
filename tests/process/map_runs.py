"""Real ``map`` processes, and a command for them to run. The command logs its start and its end, and a test can make
the command wait between the two."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims.model import TaskInfo
from sqlite_claims.sqlite.store import SqliteClaimStore

PATIENCE = 60.0
COMMAND = [sys.executable, "-m", "sqlite_claims"]

# Words that different processes write to the log don't mix: each word is short and is appended by one write.
_ACT = """#!/bin/sh
echo "start $1 $$" >> {folder}/log
if [ -p {folder}/hold-$1 ]; then read _ < {folder}/hold-$1; fi
if [ -e {folder}/fail-$1 ]; then echo "no good: $1" >&2; echo "fail $1" >> {folder}/log; exit 3; fi
echo "end $1" >> {folder}/log
echo "did $1"
"""


def wait_for(event: Callable[[], Any], what: str = "") -> Any:
    """Call ``event`` repeatedly until it returns a true value, and return that value."""
    until = time.monotonic() + PATIENCE
    while not (found := event()):
        assert time.monotonic() < until, f"never happened: {what}"
        time.sleep(0.005)
    return found


class Runs:
    """A folder with a store, and the ``map`` processes on that store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "jobs.db"
        self.act = folder / "act"
        self.act.write_text(_ACT.format(folder=folder))
        self.act.chmod(0o755)
        self._log = folder / "log"
        self._log.touch()
        self._processes: list[subprocess.Popen[bytes]] = []

    # -- map processes

    def start(
        self, *options: str, lines: Iterable[str] = (), command: Iterable[str] = (), **popen: Any
    ) -> subprocess.Popen[bytes]:
        """Start ``map`` in a separate process group. The default command is ``act {}``."""
        given = self.folder / f"lines-{len(self._processes)}"
        given.write_text("".join(f"{line}\n" for line in lines))
        argv = [*COMMAND, "map", str(self.db), *options, "--", *(command or [str(self.act), "{}"])]
        popen = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True, **popen}
        with given.open() as stdin:
            process = subprocess.Popen(argv, **{"stdin": stdin, **popen})
        self._processes.append(process)
        return process

    def run(self, *options: str, lines: Iterable[str] = (), command: Iterable[str] = (), **popen: Any) -> Finished:
        """Run ``map`` and wait until it has ended."""
        return self.finish(self.start(*options, lines=lines, command=command, **popen))

    def finish(self, process: subprocess.Popen[bytes]) -> Finished:
        """Wait until the process has ended. Return its exit status and output."""
        out, err = process.communicate(timeout=PATIENCE)
        return Finished(process.returncode, out or b"", err or b"")

    # -- the commands that map runs

    def hold(self, *lines: str) -> None:
        """Make the commands for these lines wait until ``let_go``."""
        for line in lines:
            os.mkfifo(self.folder / f"hold-{line}")

    def let_go(self, *lines: str) -> None:
        """Let the held commands for these lines continue. The commands must already have started."""
        for line in lines:
            gate = self.folder / f"hold-{line}"
            gate.rename(self.folder / f"held-{line}")
            with open(self.folder / f"held-{line}", "w") as opened:  # blocks until the command has opened the FIFO
                opened.write("\n")

    def fail(self, *lines: str) -> None:
        """Make the commands for these lines fail from now on."""
        for line in lines:
            (self.folder / f"fail-{line}").touch()

    def mend(self, *lines: str) -> None:
        """Make the commands for these lines succeed again."""
        for line in lines:
            (self.folder / f"fail-{line}").unlink()

    def events(self) -> list[tuple[str, str]]:
        """Return the events ``("start", line)``, ``("end", line)`` and ``("fail", line)`` in the order in which they
        happened."""
        return [(words[0], words[1]) for words in map(str.split, self._log.read_text().splitlines())]

    def count(self, event: str) -> Counter[str]:
        """Return how often the event happened for each line."""
        return Counter(line for name, line in self.events() if name == event)

    def wait_for(self, event: str, *lines: str) -> None:
        """Wait until the event has happened for all of these lines."""
        wait_for(lambda: all(self.count(event)[line] for line in lines), f"{event} {lines}")

    def pid_of(self, line: str) -> int:
        """Return the process id of the command that was started last for the line."""
        words = map(str.split, self._log.read_text().splitlines())
        return [int(word[2]) for word in words if word[:2] == ["start", line]][-1]

    def overlapping(self) -> list[str]:
        """Return the lines for which a second command was started while the first was running."""
        running: set[str] = set()
        twice = []
        for event, line in self.events():
            if event != "start":
                running.discard(line)
            elif line in running:
                twice.append(line)
            else:
                running.add(line)
        return twice

    def tasks(self) -> dict[bytes, TaskInfo]:
        """Return the stored tasks as a dictionary from line to task."""
        with SqliteClaimStore(self.db, create=False, read_only=True) as store:
            return {task.input: task for task in store.list_tasks()}

    def clean_up(self) -> None:
        """End the remaining ``map`` processes and the commands that outlived their ``map``."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for words in map(str.split, self._log.read_text().splitlines()):
            if words[0] == "start":
                with contextlib.suppress(OSError):
                    if str(self.act).encode() in Path(f"/proc/{words[2]}/cmdline").read_bytes():
                        os.kill(int(words[2]), signal.SIGKILL)


class Finished:
    """The exit status and the output of a process that has ended."""

    def __init__(self, status: int, out: bytes, err: bytes) -> None:
        self.status = status
        self.out = out
        self.err = err.decode("utf-8", "backslashreplace")

    def __repr__(self) -> str:
        return f"<status {self.status}, out {self.out[:500]!r}, err {self.err[:2000]}>"


@contextlib.contextmanager
def runs_in(folder: Path) -> Iterator[Runs]:
    """Give the ``with`` block a ``Runs`` for this folder, and clean up at the end of the block."""
    runs = Runs(folder)
    try:
        yield runs
    finally:
        runs.clean_up()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with runs_in(tmp_path) as found:
        yield found
