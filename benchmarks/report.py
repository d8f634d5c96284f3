"""Output of figures: as a table for people, and as JSON for later comparisons."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .pairs import Figure

RESULTS = Path(__file__).parent / "results"
_VERDICTS = {True: "met", False: "MISSED", None: ""}


def line(figure: Figure) -> str:
    """Return the line for one figure: value, middle half of the rounds, target, and whether the target is met."""
    value = f"{_number(figure.value)} {figure.unit}"
    spread = f"{_number(figure.low)} to {_number(figure.high)}"
    verdict = _VERDICTS[figure.target.met_by(figure.value)]
    return f"{figure.name:<62} {value:>11}  {spread:>18}  {figure.target!s:>6} {verdict}"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def write(facts: dict[str, Any], figures: Iterable[Figure], folder: Path = RESULTS) -> Path:
    """Write the figures to a file, with the facts that influence the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{facts['at'][:10]}-{facts['commit'][:8] or 'unknown'}-{facts['case']}.json"
    content = {"facts": facts, "figures": [figure.as_json() for figure in figures]}
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return path
