"""The cost of an operation: written bytes and pages, system calls, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from . import strace
from .bare import BareLoop
from .bench import Bench
from .machine import ROOT
from .measured import BARE_OPERATIONS, MARKS, OPERATIONS
from .pairs import NONE, Figure, figure, interleaved
from .strace import Call

_UNITS = {
    "bytes passed to the kernel per task": "B",
    "bytes of dirtied pages per task": "B",
    "frames written to the -wal per task": "",
    "Rss": "MiB",
    "Pss": "MiB",
}
_WHO = {"ours": "", "bare": ", bare apsw loop"}


def writes(bench: Bench) -> Iterator[Figure]:
    """Measure single and batched claims and completions, compared with the Python baseline."""
    sizes = bench.sizes
    rounds: dict[tuple[str, int], Callable[[], dict[str, float]]] = {
        (who, batch): partial(_measured, bench, who, batch) for batch in (1, sizes.batch) for who in _WHO
    }
    for (who, batch), samples in interleaved(rounds, sizes.long_rounds, warm_up=0).items():
        name = f"{sizes.written:,} cycles{f' in batches of {batch}' * (batch > 1)}{_WHO[who]}"
        for measure, unit in _UNITS.items():
            values = [each[measure] for each in samples]
            yield figure(f"{name}: {measure}", values, unit, NONE, {"rounds": values})
    if strace.has_strace():
        for who, operations in (("ours", OPERATIONS), ("bare", BARE_OPERATIONS)):
            for operation, calls in zip(operations, traced(bench, who), strict=True):
                name = f"system calls, {operation}{_WHO[who]}"
                yield figure(name, [sum(calls.values())], "")
                for call, number in calls.items():
                    yield figure(f"{name}: {call}", [number], "")


def _measured(bench: Bench, who: str, batch: int) -> dict[str, float]:
    tasks = bench.sizes.written
    path = _file(bench, who, tasks)
    found: dict[str, float] = json.loads(_run([], "measure", who, path, tasks, batch))
    path.unlink()
    return found


def traced(bench: Bench, who: str) -> Iterator[dict[str, float]]:
    """Yield the average number of system calls of one operation, for each kind of operation.

    Only the calls of the thread that runs the operation are counted.
    """
    times = bench.sizes.looks
    path = _file(bench, who, (times + 1) * len(OPERATIONS))
    log = path.with_suffix(".strace")
    _run(strace.command(log), "operate", who, path, times)
    for calls in between_marks(strace.read(log)):
        yield {name: number / times for name, number in calls.most_common() if number > times // 100}


def between_marks(calls: Iterable[Call]) -> Iterator[Counter[str]]:
    """Count the calls of a thread between its first and second mark, between its third and fourth mark, and so on."""
    counted: Counter[str] = Counter()
    marks, thread = 0, -1
    for call in sorted(calls, key=lambda call: call.ended):
        if call.name == "write" and call.path.endswith(MARKS):
            marks, thread = marks + 1, call.thread
            if marks % 2 == 0:
                yield counted
            counted = Counter()
        elif call.thread == thread:
            counted[call.name] += 1


def _file(bench: Bench, who: str, tasks: int) -> Path:
    """Return a file that no process has open, so that its -wal contains only the measured writes."""
    if who == "ours":
        return bench.stores.copied(tasks + 1)
    path = bench.stores.new_path()
    BareLoop(path, tasks).close()
    return path


def _run(prefix: list[str], *args: object) -> str:
    command = [*prefix, sys.executable, "-m", f"{__package__}.measured", *map(str, args)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
