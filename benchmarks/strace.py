"""System calls of processes, read from the logs of strace."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"(\d+) +(.*)")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>.*?= (-?\d+|\?)")
_CALL = re.compile(r"(\w+)\((?:\d+<([^>]*)>)?")
_RESULT = re.compile(r".*\) += (-?\d+|\?)")


@dataclass(slots=True)
class Call:
    """One system call of one thread.

    ``began`` and ``ended`` can be compared between threads. If a call began after the end of a second call, the first
    call really ran after the second call.
    """

    thread: int
    name: str
    path: str  # path of the file whose descriptor is the first argument
    began: int  # line number in the log
    ended: int
    result: int


def has_strace() -> bool:
    """Return whether strace is installed."""
    return shutil.which("strace") is not None


def command(log: Path, only: str = "all") -> list[str]:
    """Return the start of a command line that logs the system calls of a command and its children.

    ``only``: the names of the calls to log.
    """
    return ["strace", "-f", "-qq", "-y", "-s0", "-e", f"trace={only}", "-e", "signal=none", "-o", str(log)]


def calls(log: Iterable[str]) -> Iterator[Call]:
    """Iterate over the calls of a log, in the order in which the calls ended."""
    unfinished: dict[int, Call] = {}
    for number, line in enumerate(log):
        match = _LINE.match(line)
        if match is None:
            continue
        thread, text = int(match[1]), match[2]
        if resumed := _RESUMED.match(text):
            call = unfinished.pop(thread, None)
            if call is not None:
                call.ended, call.result = number, _number(resumed[2])
                yield call
        elif begun := _CALL.match(text):
            call = Call(thread, begun[1], begun[2] or "", number, number, 0)
            if text.endswith("<unfinished ...>"):
                unfinished[thread] = call
            elif ended := _RESULT.match(text):
                call.result = _number(ended[1])
                yield call


def read(log: Path) -> list[Call]:
    """Return the calls of a log file."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        return list(calls(lines))


def _number(result: str) -> int:
    return -1 if result == "?" else int(result)
