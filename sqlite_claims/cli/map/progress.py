"""How far ``map`` is, on standard error: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import Protocol

_BAR_INTERVAL_S = 0.2
_LINE_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How far all tasks of the instance are; ``ended_here`` and ``running`` are this run's. ``reading``: more lines may
    come. ``note``: what it waits for."""

    total: int
    completed: int
    failed: int
    running: int
    ended_here: int
    reading: bool
    note: str = ""


class Progress(Protocol):
    """What shows the standing."""

    interval: float
    """Seconds between two of them."""

    def show(self, standing: Standing) -> None: ...

    def hide(self) -> None:
        """Clear the way for other output on the same terminal."""

    def say(self, text: str) -> None:
        """A line that stays."""


def write_error(text: str) -> None:
    """Straight to descriptor 2; nobody reading it is no reason to stop."""
    data = memoryview(text.encode("utf-8", "backslashreplace"))
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(2, data) :]


class NoProgress:
    """Says what must be said, and shows nothing."""

    interval = 3600.0

    def show(self, standing: Standing) -> None:
        pass

    def hide(self) -> None:
        pass

    def say(self, text: str) -> None:
        write_error(f"sqlite-claims: {text}\n")


class PlainProgress(NoProgress):
    """A line every few seconds."""

    interval = _LINE_INTERVAL_S

    def __init__(self) -> None:
        self._began = time.monotonic()

    def show(self, standing: Standing) -> None:
        rate = standing.ended_here / max(time.monotonic() - self._began, 0.001)
        of = f"{standing.total}+" if standing.reading else f"{standing.total}"
        parts = [f"{standing.completed} of {of} done", f"{standing.failed} failed", f"{standing.running} running"]
        self.say(", ".join([*parts, standing.note or f"{rate:.1f}/s"]))


class BarProgress(NoProgress):
    """A bar on the terminal's last line, drawn by rich but written here, since the commands' bytes pass beside it."""

    interval = _BAR_INTERVAL_S

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            BarColumn(bar_width=30),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            auto_refresh=False,
        )
        self._task = self._progress.add_task("", total=None)
        self._first = True
        self._shown = False

    def show(self, standing: Standing) -> None:
        of = f"{standing.total}+" if standing.reading else f"{standing.total}"
        told = f"{standing.completed} of {of}, {standing.failed} failed, {standing.running} running"
        if standing.note:
            told += f", {standing.note}"
        if self._first:  # what was done before doesn't count for the rate
            self._progress.reset(self._task, completed=standing.completed + standing.failed)
            self._first = False
        self._progress.update(
            self._task,
            completed=standing.completed + standing.failed,
            total=None if standing.reading else standing.total,
            description=told,
        )
        with self._console.capture() as captured:
            self._console.print(self._progress.get_renderable(), no_wrap=True, overflow="crop")
        write_error(f"\r{captured.get().partition(chr(10))[0].rstrip()}\x1b[K")
        self._shown = True

    def hide(self) -> None:
        if self._shown:
            write_error("\r\x1b[K")
            self._shown = False

    def say(self, text: str) -> None:
        self.hide()
        super().say(text)


def choose_progress(quiet: bool) -> Progress:
    """The one that suits standard error."""
    if quiet:
        return NoProgress()
    with contextlib.suppress(OSError):
        if os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb":
            return BarProgress()
    return PlainProgress()
