"""A peer's process, as the benchmarks see it, and its queue's folder."""

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

# Filling is not what is timed, and costs a sync a task with some.
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
_LEVELS = {0: "off", 1: "normal", 2: "full"}


class PeerError(Exception):
    """A peer's own words on what went wrong."""


@dataclass(frozen=True, slots=True)
class Row:
    """A peer at one of its settings: one line of the comparison."""

    peer: Peer
    setting: Setting

    def __str__(self) -> str:
        return f"{self.peer.name} {self.setting.name}"

    @property
    def is_ours(self) -> bool:
        """Whether it is this project's."""
        return not self.peer.needs


class Process:
    """One process with one open queue. ``can`` and ``facts`` are what its adapter tells."""

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
        """Of its process."""
        return self._process.pid

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Have it do something, and wait for the answer."""
        self.begin(do, **what)
        return self.answer()

    def begin(self, do: str, **what: Any) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do} | what) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for what it was asked to."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": f"ended with {self._process.wait()}"}
        if "error" in answer:
            self.kill()
            raise PeerError(f"{self._row}: {answer['error']}")
        return answer

    def end(self) -> None:
        """Close the queue and let the process go."""
        self.ask("close")
        self._process.communicate(timeout=30)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def opened(rows: list[Row], folders: dict[Row, Path], each: int = 1) -> Iterator[dict[Row, list[Process]]]:
    """So many processes on each row's queue. A row that can't be opened is an error: it was there a moment ago."""
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
    """Return a folder, to be copied, with a queue in which so many tasks wait. It is kept next to the peer's
    environment; ours is made each time, since its code changes."""
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
