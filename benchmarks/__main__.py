"""``python -m benchmarks``: measures figures, compares them with targets, and saves them in ``benchmarks/results``."""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import layouts, machine, pairs, peers, report, targets
from .pairs import Figure
from .sizes import FULL, HUGE, SMOKE, Sizes

_ROUNDS_MIN = 5


def main() -> None:
    """Measure the figures of the cases that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "case",
        nargs="*",
        choices=[*targets.CASES, "layouts", *peers.CASES, []],
        help="all but layouts and peers if none is named",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"at least {_ROUNDS_MIN}; {FULL.rounds} if not given, and {FULL.long_rounds} of what takes seconds",
    )
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="measure processor time instead of elapsed time, for a machine that is not idle",
    )
    parser.add_argument(
        "--huge", action="store_true", help="with stores of ten million tasks, which takes minutes more"
    )
    parser.add_argument("--smoke", action="store_true", help="with tiny sizes, only to see it run")
    parser.add_argument("--no-write", action="store_true", help="keep no results")
    asked = parser.parse_args()
    sizes = SMOKE if asked.smoke else HUGE if asked.huge else FULL
    if asked.rounds:
        rounds = max(asked.rounds, _ROUNDS_MIN)
        sizes = dataclasses.replace(sizes, rounds=rounds, long_rounds=rounds)
    if asked.cpu:
        pairs.clock = time.process_time
    facts = {"clock": "processor" if asked.cpu else "wall"} | machine.facts(Path(tempfile.gettempdir()))
    for name, value in facts.items():
        print(f"{name}: {value}")
    print()
    figures = []
    for figure in _figures(sizes, asked.case):
        print(report.line(figure), flush=True)
        figures.append(figure)
    facts["load_after"] = round(os.getloadavg()[0], 2)
    facts["case"] = "-".join(asked.case or ["targets"]) + "-cpu" * asked.cpu + "-huge" * asked.huge
    if not (asked.no_write or asked.smoke):
        # The figures of other queues are on a separate page, docs/comparison.md.
        folder = report.RESULTS / ("peers" if set(asked.case) & set(peers.CASES) else "")
        print(f"\nkept in {report.write(facts, figures, folder)}")


def _figures(sizes: Sizes, cases: list[str]) -> Iterator[Figure]:
    if "layouts" in cases:
        yield from layouts.figures(sizes)
    for case in peers.CASES:
        if case in cases:
            yield from peers.figures(sizes, case)
    if named := [case for case in cases if case in targets.CASES]:
        yield from targets.figures(sizes, named)
    elif not cases:
        yield from targets.figures(sizes, [])


if __name__ == "__main__":
    main()
