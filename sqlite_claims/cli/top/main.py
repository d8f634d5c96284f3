"""The command line and the screen of ``top``."""

from __future__ import annotations

import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ...model import InstanceInfo, TaskState
from ..app import open_store
from ..instances import INSTANCE_COLUMNS, instance_cells
from ..options import DurationType, Option, database
from ..signals_as_exceptions import signals_as_exceptions
from ..text import (
    Column,
    clean,
    clean_bytes,
    format_counts,
    format_duration,
    format_oldest_ready,
    make_table,
    plain_console,
)
from .charts import rate_line, state_bar
from .sampler import Sampler, Snapshot, WorkerRow

_INTERVAL_S_MIN = 0.1
# Longest single wait in seconds. A signal that arrives just before a wait is handled only after the wait.
_WAIT_S_MAX = 0.5
# The reading of snapshots takes at most this fraction of the time. Therefore the interval between two snapshots is
# longer for a larger store.
_SAMPLING_SHARE = 0.05
# Number of lines on the screen that are not rows of a table.
_OTHER_LINES = 11
# Number of rates that top remembers. At the default interval, this is the time of 8 minutes.
_RATES_MAX = 240
_RATE_TITLE = "completed per second: "


@click.command("top")
@database
@click.option(
    "--interval",
    cls=Option,
    type=DurationType(),
    default=2.0,
    show_default="2s",
    help="Refresh interval, at least 100ms.",
)
@click.option("--once", is_flag=True, help="Print one snapshot and exit.")
def top_command(database: str, interval: float, once: bool) -> None:
    """Monitor DB: a live view of tasks, instances and workers, until q or Ctrl-C.

    The view shows the number of tasks in each state, also as a bar, the tasks completed and failed per second, the
    instances in progress, and the workers. For each worker, it shows the number of claims and the task with the oldest
    claim.

    top only reads the store, and never blocks workers. If standard output is not a terminal, the snapshots are printed
    one after the other.
    """
    interval = max(interval, _INTERVAL_S_MIN)
    with open_store(database, read_only=True) as store:
        sampler = Sampler(store)
        console = Console(highlight=False)
        if once or not console.is_terminal:
            _print_frames(database, sampler, None if once else interval)
            return
        with ExitStack() as stack:
            stack.enter_context(signals_as_exceptions())
            wait = stack.enter_context(_quit_key())
            live = stack.enter_context(Live(console=console, screen=True, auto_refresh=False))
            earlier = None
            rates: deque[float] = deque(maxlen=_RATES_MAX)
            title = f"{clean(os.path.basename(database))}, every {format_duration(interval)}, q quits"
            try:
                while True:
                    began = time.monotonic()
                    snapshot = sampler.take()
                    if (rate := snapshot.rate_since(earlier, TaskState.COMPLETED)) is not None:
                        rates.append(rate)
                    frame = _frame(title, snapshot, earlier, console=console, height=console.height, rates=rates)
                    live.update(frame, refresh=True)
                    earlier = snapshot
                    if wait(max(interval, (snapshot.at - began) / _SAMPLING_SHARE)):
                        return
            except KeyboardInterrupt:
                return


def _print_frames(database: str, sampler: Sampler, interval: float | None) -> None:
    console = plain_console()
    earlier = None
    while True:
        began = time.monotonic()
        snapshot = sampler.take()
        title = clean(os.path.basename(database))
        console.print(_frame(title, snapshot, earlier, console=console, height=None))
        sys.stdout.flush()
        if interval is None:
            return
        earlier = snapshot
        console.print()
        _sleep(max(interval, (snapshot.at - began) / _SAMPLING_SHARE))


def _sleep(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while (remaining_s := deadline - time.monotonic()) > 0:
        time.sleep(min(remaining_s, _WAIT_S_MAX))
    return False


@contextmanager
def _quit_key() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits for a given time and returns whether the user pressed q.

    If standard input is not a terminal, the function only waits.
    """
    if not sys.stdin.isatty():
        yield _sleep
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    settings = termios.tcgetattr(descriptor)

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)

    def wait(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (remaining_s := deadline - time.monotonic()) > 0:
            if poll.poll(1000 * min(remaining_s, _WAIT_S_MAX)):
                keys = os.read(descriptor, 100)
                if not keys or b"q" in keys.lower():  # the read returns no bytes if the terminal was closed
                    return True
        return False

    try:
        tty.setcbreak(descriptor)
        yield wait
    finally:
        with suppress(termios.error):  # the settings of a closed terminal cannot be restored
            termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)


def _frame(
    title: str,
    snapshot: Snapshot,
    earlier: Snapshot | None,
    *,
    console: Console,
    height: int | None,
    rates: Sequence[float] = (),
) -> RenderableType:
    """Render a snapshot for the console.

    Args:
        title: The first line.
        snapshot: The snapshot.
        earlier: The snapshot before, from which rates are computed.
        console: The console.
        height: Number of lines at most. ``None``: any number of lines.
        rates: The rates of completed tasks to draw as a line, the newest last.
    """
    claims = f"claims: {snapshot.stats.live_claims} live, {snapshot.expired_claims} expired"
    now = [
        f"{rate:,.1f} {state.value}"
        for state in (TaskState.COMPLETED, TaskState.FAILED)
        if (rate := snapshot.rate_since(earlier, state)) is not None
    ]
    per_second = [f"per second: {', '.join(now)}"] if now else []
    parts: list[RenderableType] = [
        Text(f"{time.strftime('%H:%M:%S %Z')}  {title}", style="bold"),
        Text(format_counts(snapshot.stats.counts)),
        *_charts(snapshot, rates, console),
        Text("; ".join([claims, format_oldest_ready(snapshot.stats), *per_second])),
        *(Text(clean(warning), style="bold red") for warning in snapshot.warnings),
    ]
    instances, workers = snapshot.instances, snapshot.workers
    rows = len(instances) + len(workers)
    room = rows if height is None else max(2, height - _OTHER_LINES - len(snapshot.warnings))
    # Each of the two tables may use half of the rows, and also the rows that the other table does not need.
    worker_rows = min(len(workers), max(room // 2, room - len(instances)))
    instance_rows = room - worker_rows
    if instances:
        columns = [*INSTANCE_COLUMNS, Column("ENDED")]
        shown = instances[:instance_rows]
        parts += [
            Text(),
            make_table(columns, map(_instance_row, shown), is_terminal=console.is_terminal),
            *_more_rows(len(instances) - len(shown)),
        ]
    if workers:
        columns = [
            Column("WORKER", "cut"),
            Column("PID"),
            Column("CLAIMS"),
            Column("OLDEST CLAIM", "cut"),
            Column("HELD FOR"),
        ]
        busy_first = sorted(workers, key=lambda worker: -worker.claims)[:worker_rows]
        note = "" if snapshot.has_all_claims else f" (only the first {_claims_read(snapshot):,} claims were read)"
        parts += [Text(), make_table(columns, map(_worker_row, busy_first), is_terminal=console.is_terminal)]
        parts += _more_rows(len(workers) - len(busy_first), note)
    return Group(*parts)


def _charts(snapshot: Snapshot, rates: Sequence[float], console: Console) -> list[RenderableType]:
    """Return the bar of states, and the line of rates as soon as there are two rates. Without a terminal, return
    nothing."""
    if not console.is_terminal:
        return []
    charts: list[RenderableType] = []
    if bar := state_bar(snapshot.stats.counts, console.width):
        charts.append(bar)
    if len(rates) > 1:
        highest = f"  highest {max(rates):,.1f}"
        room = console.width - len(_RATE_TITLE) - len(highest)
        charts.append(Text(f"{_RATE_TITLE}{rate_line(list(rates), max(room, 1))}{highest}", no_wrap=True))
    return charts


def _claims_read(snapshot: Snapshot) -> int:
    return sum(worker.claims for worker in snapshot.workers)


def _more_rows(number: int, note: str = "") -> list[RenderableType]:
    return [Text(f"and {number} more{note}" if number else note.strip())] if number or note else []


def _instance_row(instance: InstanceInfo) -> list[str]:
    counts = instance.counts
    total = sum(counts.values())
    ended = counts[TaskState.COMPLETED] + counts[TaskState.FAILED] + counts[TaskState.CANCELLED]
    return [*instance_cells(instance), f"{ended * 100 // total}%" if total else ""]


def _worker_row(worker: WorkerRow) -> list[str]:
    """Return the table cells of a worker. A worker without a process id is dead, or claims tasks without a session."""
    row = [clean(worker.worker_id, width=40), " ".join(map(str, worker.pids[:3])), str(worker.claims or "")]
    if worker.oldest is None:
        return [*row, "", ""]
    held = format_duration(max(0.0, time.time() - worker.oldest.claimed_at))
    expired = ", expired" if worker.oldest.is_expired() else ""
    name = clean(worker.oldest.task_id) if worker.line is None else clean_bytes(worker.line, width=40)
    return [*row, clean(f"{name} of {worker.oldest.instance_id}", width=60), held + expired]
