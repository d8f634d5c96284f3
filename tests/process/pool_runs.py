"""Pools in this process and in separate programs, and the messages that their handlers send to the tests."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import sqlite_claims
from sqlite_claims import NewTask, TaskInfo
from sqlite_claims.sqlite.store import SqliteClaimStore

PATIENCE = 60.0
HERE = Path(__file__).parent
# With this path, programs import the package under test, even if the package is not installed.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(sqlite_claims.__file__).parents[1])}


class Pools:
    """A folder with a store and the FIFOs of ``pool_handlers``."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "jobs.db")
        self._folder = folder
        for name in ("said", "gate"):
            os.mkfifo(folder / name)
        # Each FIFO is opened for reading and writing, so that no read returns the end of the file.
        self._said, self._gate = (os.open(folder / name, os.O_RDWR | os.O_NONBLOCK) for name in ("said", "gate"))
        self._heard = b""
        self._programs: list[subprocess.Popen[bytes]] = []
        self.store = SqliteClaimStore(self.path)

    def add(self, *kinds: str, **options: Any) -> None:
        """Add an instance ``i`` with tasks ``0``, ``1``, ... of these kinds."""
        self.store.add_instance("i", [NewTask(str(n), kind=kind, **options) for n, kind in enumerate(kinds)])

    def task(self, name: str = "0") -> TaskInfo:
        return self.store.get_task("i", name)

    def hear(self) -> tuple[str, int]:
        """Return the next message of a handler: the name of the task and the id of the handler's process."""
        until = time.monotonic() + PATIENCE
        while b"\n" not in self._heard:
            assert select.select([self._said], [], [], until - time.monotonic())[0], "no handler said anything"
            self._heard += os.read(self._said, 4096)
        line, _, self._heard = self._heard.partition(b"\n")
        name, pid = line.decode().split()
        return name, int(pid)

    def open_gate(self, handlers: int = 100) -> None:
        """Let this number of handlers pass the gate, including handlers that reach the gate after this call."""
        os.write(self._gate, b"." * handlers)

    def start(self, what: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program that runs a pool (``pool``, ``own``), a worker (``worker``) or some other program on the
        store."""
        return self.start_within((), self.path, what, options)

    def start_within(
        self, within: Sequence[str], path: str, what: str, options: dict[str, Any]
    ) -> subprocess.Popen[bytes]:
        """Start the program through a command that may change the file system. ``path`` is the store's path within the
        program."""
        program = subprocess.Popen(
            [*within, sys.executable, str(HERE / "pool_handlers.py"), what, path, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**ENVIRONMENT, "POOL_TEST_FOLDER": str(self._folder)},
        )
        self._programs.append(program)
        return program

    def finish(self, program: subprocess.Popen[bytes]) -> Any:
        """Wait until the program has ended. Return its exit status and output."""
        out, _ = program.communicate(timeout=PATIENCE)
        return program.returncode, json.loads(out) if out else None

    def starts(self) -> list[tuple[str, str, int]]:
        """Return instance, task and token of each start of a ``witnessed`` task."""
        lines = (line.split() for line in (self._folder / "starts").read_text().splitlines())
        return [(instance, task, int(token)) for instance, task, token in lines]

    def calls(self) -> int:
        """Return how often the functions of ``durable_map`` were called."""
        file = self._folder / "calls"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def close(self) -> None:
        for program in self._programs:
            if program.poll() is None:
                program.kill()
            program.communicate()
        os.close(self._said)
        os.close(self._gate)
        self.store.close()


def eventually(happened: Callable[[], Any]) -> Any:
    """Poll until ``happened`` returns a true value, for events that are not reported to the test."""
    until = time.monotonic() + PATIENCE
    while not (found := happened()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def children_of(pid: int) -> list[int]:
    """Return the process ids of a process's children, including those that have not called exec yet."""
    return [
        int(child) for listed in Path(f"/proc/{pid}/task").glob("*/children") for child in listed.read_text().split()
    ]


def is_gone(pid: int) -> bool:
    """Return whether the process does not exist or is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the process ended before its file in /proc was opened or read
        return True


@pytest.fixture
def pools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pools]:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("POOL_TEST_FOLDER", str(tmp_path))
    found = Pools(tmp_path)
    yield found
    found.close()
