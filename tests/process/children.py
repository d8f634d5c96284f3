"""Python processes for tests. A test starts such a process, exchanges lines with it over pipes, and ends it.

A test passes the program as source text. The program writes messages to standard output, one per line, and reads lines
from standard input. Neither side sleeps for synchronization: each waits for a line or for the end of the process, and
gives up after ``PATIENCE``."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from textwrap import dedent

import pytest

PATIENCE = 60.0
# Every program begins with this code. One call writes a whole line, so that lines of threads and forked children don't
# mix.
PRELUDE = """
import os, signal, sys, threading, time
from sqlite_claims import *
args = sys.argv[1:]
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def hear():
    return sys.stdin.readline().strip()
def ask(path, store):
    for name, use in (("own", store.stats), ("new", lambda: SqliteClaimStore(path))):
        try:
            use()
            say(name, "works")
        except BaseException as error:
            say(name, type(error).__name__, error)
"""


class Child:
    """One Python process."""

    def __init__(
        self, program: str, *args: object, pass_fds: tuple[int, ...] = (), within: tuple[str, ...] = ()
    ) -> None:
        """Start the program. ``within`` is a command that runs it, for example in separate namespaces."""
        self._process = subprocess.Popen(
            [*within, sys.executable, "-c", PRELUDE + dedent(program), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=pass_fds,
        )
        self.pid = self._process.pid
        self._buffer = b""

    def says(self, *expected: object) -> list[str]:
        """Assert that the next line of the process begins with the expected words. Return the remaining words."""
        words = self.next_line().split(" ")
        assert words[: len(expected)] == [str(word) for word in expected], words
        return words[len(expected) :]

    def next_line(self) -> str:
        line = self.line_within(PATIENCE)
        assert line is not None, "it ended, or said nothing for too long"
        return line

    def line_within(self, seconds: float) -> str | None:
        """Return the next line of the process, or ``None`` if the process ends or the time is over before it writes a
        line."""
        assert self._process.stdout is not None
        until = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            block = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not block:
                return None
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def rest(self) -> list[str]:
        """Return all lines that the process writes from now until it ends."""
        lines = []
        while (line := self.line_within(PATIENCE)) is not None:
            lines.append(line)
        return lines

    def tell(self, line: str = "go") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process with SIGKILL and wait until it has ended."""
        self.cut_off()
        self.wait()

    def cut_off(self) -> None:
        """Kill the process with SIGKILL. Its output can still be read."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def wait(self) -> int:
        """Wait until the process ends, and return its exit status."""
        status = self._process.wait(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        return status

    def end(self) -> None:
        """Wait until the process has ended successfully. Assert that all its output has been read."""
        assert self.rest() == []
        assert self.wait() == 0


class Start:
    """Return a function that starts child processes. After the test, end the children that are still running."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def __call__(
        self, program: str, *args: object, pass_fds: tuple[int, ...] = (), within: tuple[str, ...] = ()
    ) -> Child:
        child = Child(program, *args, pass_fds=pass_fds, within=within)
        self._children.append(child)
        return child

    def end(self) -> None:
        for child in self._children:
            child.kill()


@pytest.fixture
def start() -> Iterator[Start]:
    starter = Start()
    yield starter
    starter.end()
