"""Start and control a peer's process, and prepare the folder of its queue."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .environments import CACHE, Peer, Setting

# Queues are filled in memory, because filling is not measured and takes one sync per task with some peers.
_MEMORY = Path("/dev/shm")  # noqa: S108 - used for a new folder
_LEVELS = {0: "off", 1: "normal", 2: "full"}


class PeerError(Exception):
    """An error message of a peer."""


@dataclass(frozen=True, slots=True)
class Row:
    """A peer with one setting of this peer. Each such pair is one line of the comparison."""

    peer: Peer
    setting: Setting

    def __str__(self) -> str:
        return f"{self.peer.name} {self.setting.name}"

    @property
    def is_ours(self) -> bool:
        """True if the peer is this project."""
        return not self.peer.needs


class Process:
    """One process with one open queue. ``can`` and ``facts`` are reported by the peer's adapter."""

    def __init__(self, row: Row, folder: Path, before: tuple[str, ...] = (), lease: float | None = None) -> None:
        self._row = row
        with tempfile.TemporaryFile("w+") as self._said:
            self._process = subprocess.Popen(
                [*before, *row.peer.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said.fileno(),
                text=True,
                cwd=folder,
            )
        options = row.setting.options | ({} if lease is None else {"lease": lease})
        opened = self.ask("open", folder=str(folder), options=options)
        self.can: list[str] = opened["can"]
        self.facts: dict[str, Any] = opened["facts"]
        told = _LEVELS.get(self.facts.get("synchronous", -1), row.setting.level)
        if told != row.setting.level:
            self.end()
            raise PeerError(f"{row}: it runs at synchronous={told}, not at {row.setting.level}")

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Send a command and wait for the answer."""
        self.begin(do, **what)
        return self.answer()

    def begin(self, do: str, **what: Any) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do} | what) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the command."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": f"ended with {self._process.wait()}"}
        if "error" in answer:
            self.kill()
            raise PeerError(f"{self._row}: {answer['error']}")
        return answer

    def end(self) -> None:
        """Close the queue and wait until the process has ended."""
        self.ask("close")
        self._process.communicate(timeout=30)

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def opened(rows: list[Row], folders: dict[Row, Path], each: int = 1) -> Iterator[dict[Row, list[Process]]]:
    """Open the given number of processes on each row's queue. Raise an error if a queue cannot be opened, because
    its environment was ready a moment ago."""
    processes: dict[Row, list[Process]] = {}
    try:
        for row in rows:
            processes[row] = []
            for _ in range(each):
                processes[row].append(Process(row, folders[row]))
        yield processes
        for row in rows:
            for process in processes[row]:
                process.end()
    except BaseException:
        for started in processes.values():
            for process in started:
                process.kill()
        raise


def filled(row: Row, count: int) -> Path:
    """Return a folder with a queue of ``count`` waiting tasks, as a template for copies. The folder is stored next to
    the peer's environment. This project's own queue is filled each time, since its code changes."""
    kept = row.peer.folder / f"filled-{count}-{row.setting.name}"
    if row.is_ours or not kept.exists():
        with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            process = Process(row, Path(folder))
            process.ask("fill", count=count)
            process.end()
            CACHE.mkdir(exist_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept)
    return kept
