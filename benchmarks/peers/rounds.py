"""The scenarios: the speed of each peer, measured in rounds in which all peers take turns. Each speed is compared with
the speed of this store in the same round and with the same value of ``synchronous``."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..pairs import Figure, figure
from ..sizes import FULL, Sizes
from . import checks
from .driver import Process, Row, filled, opened
from .environments import peers

CASES = ("peers", "peers-crowd", "peers-checks")
PROCESSES = 8
# Enough tasks for all rounds of the fastest peer, also in the smoke test.
_CROWD_MIN = 5000
_BULK = 1000
_ROUNDS_MAX = 7


@dataclass(frozen=True, slots=True)
class Scenario:
    """The work of a round, the number of waiting tasks, and the optional functions that a peer needs."""

    name: str
    do: str
    needs: str = ""
    backlog: bool = False
    size: int = 0


SCENARIOS = [
    Scenario("cycle", "cycle"),
    Scenario("cycle in a backlog", "cycle", backlog=True),
    Scenario("batch", "batch", needs="claim_many", size=50),
    Scenario("add", "add"),
    Scenario("bulk", "add_many", needs="add_many", size=_BULK),
]


def figures(sizes: Sizes, case: str) -> Iterator[Figure]:
    """Return the figures of one case. ``peers``: one process at a time. ``peers-crowd``: eight processes at a time.
    ``peers-checks``: guarantees after the death of a worker."""
    rows = [Row(peer, setting) for peer in peers() if peer.is_there for setting in peer.settings]
    with tempfile.TemporaryDirectory(prefix="sqlite-claims-bench-") as folder:
        if case == "peers-checks":
            yield from checks.figures(rows, Path(folder))
        elif case == "peers-crowd":
            yield from _crowd(sizes, [row for row in rows if not row.peer.one_process], Path(folder))
        else:
            for scenario in SCENARIOS:
                yield from _alone(sizes, scenario, rows, Path(folder))


def _alone(sizes: Sizes, scenario: Scenario, rows: list[Row], folder: Path) -> Iterator[Figure]:
    folders = _copies(rows, sizes.many if scenario.backlog else sizes.few, folder)
    with opened(rows, folders) as processes:
        able = {row: one for row, (one,) in processes.items() if scenario.needs in ("", *one.can)}
        size = {"size": min(scenario.size, sizes.few)} if scenario.size else {}

        def round(row: Row) -> float:
            asked = {"most": _most(sizes, scenario), "seconds": _seconds(sizes)} | size
            took = able[row].ask(scenario.do, **asked)
            if scenario.do in ("cycle", "batch") and not scenario.backlog:
                able[row].ask("fill", count=took["done"])
            return float(took["done"] / took["seconds"])

        rates = _in_turn(list(able), min(sizes.rounds, _ROUNDS_MAX), round)
        waiting = f"{sizes.many if scenario.backlog else sizes.few:,} waiting"
        for row, process in able.items():
            yield _beside_ours(f"{scenario.name}, {waiting}", row, rates, process)


def _crowd(sizes: Sizes, rows: list[Row], folder: Path) -> Iterator[Figure]:
    folders = _copies(rows, max(sizes.many, _CROWD_MIN), folder)
    results: dict[Row, list[dict[str, Any]]] = {row: [] for row in rows}
    seconds = _seconds(sizes) * 4
    with opened(rows, folders, PROCESSES) as processes:

        def round(row: Row) -> float:
            for process in processes[row]:
                process.begin("crowd", seconds=seconds)
            took = [process.answer() for process in processes[row]]
            # Replace the completed tasks, so that the fastest peers do not run out of tasks, and each round begins with
            # the same number of tasks.
            processes[row][0].ask("fill", count=sum(one["done"] for one in took))
            results[row].append(crowded(took))
            return float(results[row][-1]["rate"])

        rates = _in_turn(rows, min(sizes.rounds, _ROUNDS_MAX), round)
        for row in rows:
            counted = results[row][1:]
            detail = {
                "share": statistics.median(one["share"] for one in counted),
                "p99_ms": statistics.median(one["p99_ms"] for one in counted),
                "worst_ms": max(one["worst_ms"] for one in counted),
                "errors": sum(one["errors"] for one in counted),
                "error": next((one["error"] for one in counted if one["error"]), ""),
            }
            yield _beside_ours(f"{PROCESSES} processes", row, rates, processes[row][0], detail)


def crowded(took: list[dict[str, Any]]) -> dict[str, Any]:
    """Combine the reports of the processes of one round."""
    done = [one["done"] for one in took]
    waits = sorted(wait for one in took for wait in one["waits_us"])
    errors = [error for one in took for error in one["errors"]]
    return {
        "rate": sum(done) / max(one["seconds"] for one in took),
        "share": min(done) / max(done) if max(done) else 0.0,
        "p99_ms": waits[len(waits) * 99 // 100] / 1000,
        "worst_ms": waits[-1] / 1000,
        "errors": len(errors),
        "error": errors[0] if errors else "",
    }


def _in_turn(rows: list[Row], count: int, round: Callable[[Row], float]) -> dict[Row, list[float]]:
    """Run the rounds in the same way as ``pairs.interleaved``. The first round does not count, and each round has a
    different order of the rows."""
    rates: dict[Row, list[float]] = {row: [] for row in rows}
    os.sync()
    for turn in range(count + 1):
        for row in random.Random(turn).sample(rows, len(rows)):
            rate = round(row)
            if turn > 0:
                rates[row].append(rate)
    return rates


def _beside_ours(
    name: str, row: Row, rates: dict[Row, list[float]], process: Process, detail: dict[str, Any] | None = None
) -> Figure:
    level = "full" if row.setting.level == "full" else "normal"
    ours = next(rates[other] for other in rates if other.is_ours and other.setting.level == level)
    ratios = [a / b if b else 0.0 for a, b in zip(ours, rates[row], strict=True)]
    told = {
        "row": str(row),
        "level": row.setting.level,
        "pops": row.peer.pops,
        "facts": process.facts,
        "per_second": [round(rate, 1) for rate in rates[row]],
        "ours_over_it": round(statistics.median(ratios), 3),
        "ours_over_it_all": [round(ratio, 3) for ratio in ratios],
    }
    return figure(f"{name}: {row}", rates[row], "/s", detail=told | (detail or {}))


def _copies(rows: list[Row], count: int, folder: Path) -> dict[Row, Path]:
    copies = {}
    for row in rows:
        copies[row] = Path(tempfile.mkdtemp(dir=folder))
        shutil.copytree(filled(row, count), copies[row], dirs_exist_ok=True)
    return copies


def _most(sizes: Sizes, scenario: Scenario) -> int:
    # A round without a backlog takes at most half of the tasks, so that some tasks are left at the end of the round.
    return sizes.few // 2 if not scenario.backlog and scenario.do in ("cycle", "batch") else sizes.many // 10


def _seconds(sizes: Sizes) -> float:
    return 0.15 if sizes.few >= FULL.few else 0.02
