"""The progress display of ``map`` on standard error: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import Protocol

_BAR_INTERVAL_S = 0.2
_LINE_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressState:
    """Numbers of the instance's tasks. ``running`` and ``ended_here`` count only jobs of this run.

    ``reading``: True if the input may contain more lines. ``note``: the reason why no job is running, if no job is
    running.
    """

    total: int
    completed: int
    failed: int
    running: int
    ended_here: int
    reading: bool
    note: str = ""


class ProgressDisplay(Protocol):
    """A display of the progress of ``map``."""

    interval_s: float
    """Seconds between two updates."""

    def show(self, state: ProgressState) -> None: ...

    def hide(self) -> None:
        """Remove the display, so that other output can be written to the same terminal."""

    def print_line(self, text: str) -> None:
        """Print a line that later updates do not overwrite."""


def write_error(text: str) -> None:
    """Write to standard error. Errors are ignored, so that ``map`` continues even if nobody reads standard
    error."""
    data = memoryview(text.encode("utf-8", "backslashreplace"))
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(2, data) :]


class QuietDisplay:
    """A display that prints only single lines, and shows no progress."""

    interval_s = 3600.0

    def show(self, state: ProgressState) -> None:
        pass

    def hide(self) -> None:
        pass

    def print_line(self, text: str) -> None:
        write_error(f"sqlite-claims: {text}\n")


class LineDisplay(QuietDisplay):
    """A display that prints a new line at each update."""

    interval_s = _LINE_INTERVAL_S

    def __init__(self) -> None:
        self._began = time.monotonic()

    def show(self, state: ProgressState) -> None:
        rate = state.ended_here / max(time.monotonic() - self._began, 0.001)
        total = f"{state.total}+" if state.reading else f"{state.total}"
        parts = [f"{state.completed} of {total} done", f"{state.failed} failed", f"{state.running} running"]
        self.print_line(", ".join([*parts, state.note or f"{rate:.1f}/s"]))


class BarDisplay(QuietDisplay):
    """A progress bar on the terminal's last line.

    rich renders the bar, but this class writes the bar itself, because the output of commands goes to the same
    terminal.
    """

    interval_s = _BAR_INTERVAL_S

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
        self._is_first = True
        self._is_shown = False

    def show(self, state: ProgressState) -> None:
        total = f"{state.total}+" if state.reading else f"{state.total}"
        description = f"{state.completed} of {total} done, {state.failed} failed, {state.running} running"
        if state.note:
            description += f", {state.note}"
        ended = state.completed + state.failed
        if self._is_first:  # the rate excludes tasks that ended before this run
            self._progress.reset(self._task, completed=ended)
            self._is_first = False
        self._progress.update(
            self._task,
            completed=ended,
            total=None if state.reading else state.total,
            description=description,
        )
        with self._console.capture() as captured:
            self._console.print(self._progress.get_renderable(), no_wrap=True, overflow="crop")
        write_error(f"\r{captured.get().partition(chr(10))[0].rstrip()}\x1b[K")
        self._is_shown = True

    def hide(self) -> None:
        if self._is_shown:
            write_error("\r\x1b[K")
            self._is_shown = False

    def print_line(self, text: str) -> None:
        self.hide()
        super().print_line(text)


def choose_display(quiet: bool) -> ProgressDisplay:
    """Return a bar if standard error is a terminal, and lines otherwise. With ``quiet``, no progress is shown."""
    if quiet:
        return QuietDisplay()
    with contextlib.suppress(OSError):
        if os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb":
            return BarDisplay()
    return LineDisplay()
