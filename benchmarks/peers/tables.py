"""``python -m benchmarks.peers.tables RESULTS...``: print the figures of several runs as the Markdown tables of
``docs/comparison.md``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .environments import peers

_SAYS = {f"{peer.name} {setting.name}": setting.says for peer in peers() for setting in peer.settings}


def main() -> None:
    """Print a table for each case."""
    for path in sys.argv[1:]:
        content = json.loads(Path(path).read_text("utf-8"))
        figures, facts = content["figures"], content["facts"]
        print(f"\n{facts['case']}, commit {facts['commit'][:8]}, {facts['at']}, fdatasync {facts['fdatasync_us']} µs\n")
        if facts["case"] == "peers-checks":
            headings = ["`synchronous`", "syncs", "available again after", "late completion"]
            _print(headings, [(_name(one), _checked(one)) for one in figures])
        elif facts["case"] == "peers-crowd":
            ratio = "sqlite_claims / this queue"
            headings = ["`synchronous`", "tasks/s", ratio, "slowest/fastest", "p99, ms", "worst, ms", "errors"]
            _print(headings, [(_name(one), _crowd(one)) for one in _by_level(figures)])
        else:
            scenarios = list(dict.fromkeys(one["name"].split(":")[0] for one in figures))
            rows: dict[str, dict[str, Any]] = {}
            for one in _by_level(figures):
                rows.setdefault(_name(one), {})[one["name"].split(":")[0]] = one
            _print(
                ["`synchronous`", *scenarios],
                [
                    (name, [next(iter(had.values()))["detail"]["level"], *(_rate(had.get(one)) for one in scenarios)])
                    for name, had in rows.items()
                ],
            )


def _by_level(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(figures, key=lambda one: one["detail"]["level"] == "full")


def _name(figure: dict[str, Any]) -> str:
    row: str = figure["detail"]["row"]
    return f"{row.split(maxsplit=1)[0]}, {_SAYS.get(row, row)}" + (" †" if figure["detail"]["pops"] else "")


def _rate(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return ""
    return f"{_spread(figure)}, {figure['detail']['ours_over_it']:.2f}"


def _spread(figure: dict[str, Any]) -> str:
    return f"{figure['value']:,.0f} ({figure['low']:,.0f} to {figure['high']:,.0f})"


def _crowd(figure: dict[str, Any]) -> list[str]:
    detail = figure["detail"]
    return [
        detail["level"],
        _spread(figure),
        f"{detail['ours_over_it']:.2f}",
        f"{detail['share']:.2f}",
        f"{detail['p99_ms']:.1f}",
        f"{detail['worst_ms']:,.0f}",
        str(detail["errors"]),
    ]


def _checked(figure: dict[str, Any]) -> list[str]:
    detail = figure["detail"]
    back = "never" if detail["back_s"] is None else f"{detail['back_s']:.2f} s"
    return [detail["level"], f"{figure['value']:.2f}", back, detail["late"]]


def _print(headings: list[str], rows: list[tuple[str, list[str]]]) -> None:
    print("| | " + " | ".join(headings) + " |")
    print("|---|" + "---|" * len(headings))
    for name, cells in rows:
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
