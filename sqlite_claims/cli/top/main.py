"""The command line of ``top``, and what it shows."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ...model import InstanceInfo, TaskState
from ..app import open_store
from ..options import DurationType, database
from ..signals_as_exceptions import signals_as_exceptions
from ..text import clean, format_counts, format_duration, make_table, plain_console
from .sampler import Look, Looker, WorkerRow

_INTERVAL_S_MIN = 0.1
# A signal that comes just before a nap is heard after it.
_NAP_S_MAX = 0.5
# Looking takes at most this share of the time, however large the store: else the interval grows.
_SHARE = 0.05
# Lines of a frame that are not rows of its tables.
_LINES = 9


@click.command("top")
@database
@click.option(
    "--interval", type=DurationType(), default=2.0, show_default="2s", help="Between two looks; at least 100ms."
)
@click.option("--once", is_flag=True, help="Look once, print it and end.")
def top_command(database: str, interval: float, once: bool) -> None:
    """Show what goes on in DB, again and again, until q or Ctrl-C: tasks by state, what is done a second, instances in
    progress, who works and what they hold for how long.

    It only reads, and holds up nobody. Where standard output is no terminal, one frame follows the other.
    """
    interval = max(interval, _INTERVAL_S_MIN)
    with open_store(database, read_only=True) as store:
        looker = Looker(store)
        console = Console(highlight=False)
        if once or not console.is_terminal:
            _print_frames(database, looker, None if once else interval)
            return
        with ExitStack() as stack:
            stack.enter_context(signals_as_exceptions())
            wait = stack.enter_context(_keys())
            live = stack.enter_context(Live(console=console, screen=True, auto_refresh=False))
            earlier = None
            title = f"{clean(os.path.basename(database))}, every {format_duration(interval)}, q ends"
            try:
                while True:
                    began = time.monotonic()
                    look = looker.look()
                    live.update(_frame(title, look, earlier, console.height), refresh=True)
                    earlier = look
                    if wait(max(interval, (look.at - began) / _SHARE)):
                        return
            except KeyboardInterrupt:
                return


def _print_frames(database: str, looker: Looker, interval: float | None) -> None:
    console = plain_console()
    earlier = None
    while True:
        began = time.monotonic()
        look = looker.look()
        console.print(_frame(clean(os.path.basename(database)), look, earlier, None))
        sys.stdout.flush()
        if interval is None:
            return
        earlier = look
        console.print()
        _sleep(max(interval, (look.at - began) / _SHARE))


def _sleep(seconds: float) -> bool:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _NAP_S_MAX))
    return False


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Gives what waits so many seconds and tells whether q was pressed; without a terminal it only waits."""
    if not sys.stdin.isatty():
        yield _sleep
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)

    def wait(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if poll.poll(1000 * min(left, _NAP_S_MAX)):
                typed = os.read(descriptor, 100)
                if not typed or b"q" in typed.lower():  # an end is the terminal's
                    return True
        return False

    try:
        tty.setcbreak(descriptor)
        yield wait
    finally:
        with suppress(termios.error):  # a terminal that has gone needs nothing back
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _frame(title: str, look: Look, earlier: Look | None, height: int | None) -> RenderableType:
    """``height``: lines there are on the screen; ``None``: any number."""
    rates = [
        f"{name}: " + ("-" if (rate := look.rate_since(earlier, state)) is None else f"{rate:,.1f}/s")
        for name, state in (("completed", TaskState.COMPLETED), ("failed", TaskState.FAILED))
    ]
    oldest = look.stats.oldest_ready_age
    claims = f"claims: {look.stats.live_claims} live, {look.expired} expired"
    waiting = f"longest waiting: {'none' if oldest is None else format_duration(oldest)}"
    parts: list[RenderableType] = [
        Text(f"{time.strftime('%H:%M:%S %Z')}  {title}", style="bold"),
        Text(format_counts(look.stats.counts)),
        Text("; ".join([*rates, claims, waiting])),
        *(Text(clean(warning), style="bold red") for warning in look.warnings),
    ]
    rows = len(look.instances) + len(look.workers)
    room = rows if height is None else max(2, height - _LINES - len(look.warnings))
    # Each table gets what the other leaves, and at least half.
    for_workers = min(len(look.workers), max(room // 2, room - len(look.instances)))
    for_instances = room - for_workers
    if look.instances:
        columns = ["INSTANCE", "STATE", *(state.value.upper() for state in TaskState), "ENDED"]
        shown = look.instances[:for_instances]
        parts += [Text(), make_table(columns, map(_instance_row, shown)), *_rest(len(look.instances) - len(shown))]
    if look.workers:
        columns = ["WORKER", "PID", "CLAIMS", "LONGEST", "HELD FOR"]
        busy_first = sorted(look.workers, key=lambda worker: -worker.claims)[:for_workers]
        more = "" if look.all_claims else " (there are more claims than were looked at)"
        parts += [Text(), make_table(columns, map(_worker_row, busy_first))]
        parts += _rest(len(look.workers) - len(busy_first), more)
    return Group(*parts)


def _rest(number: int, more: str = "") -> list[RenderableType]:
    return [Text(f"and {number} more{more}" if number else more.strip())] if number or more else []


def _instance_row(instance: InstanceInfo) -> list[str]:
    counts = instance.counts
    total = sum(counts.values())
    ended = counts[TaskState.COMPLETED] + counts[TaskState.FAILED] + counts[TaskState.CANCELLED]
    share = f"{ended * 100 // total} %" if total else ""
    return [
        clean(instance.instance_id, width=40),
        instance.state.value,
        *(str(counts[state] or "") for state in TaskState),
        share,
    ]


def _worker_row(worker: WorkerRow) -> list[str]:
    """Claims that no living session of that worker id holds have no pid: their worker is dead, or has no session."""
    row = [clean(worker.worker_id, width=40), " ".join(map(str, worker.pids[:3])), str(worker.claims or "")]
    if worker.oldest is None:
        return [*row, "", ""]
    held = format_duration(max(0.0, time.time() - worker.oldest.claimed_at))
    expired = ", expired" if worker.oldest.is_expired() else ""
    task = f"{worker.oldest.task_id} of {worker.oldest.instance_id}"
    return [*row, clean(task, width=60), held + expired]
