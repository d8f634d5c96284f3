"""Plots of the figures, with a dot for the median, a line for the middle half of the rounds, and a mark for the target.

The same figures always produce the same file.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

mpl.use("svg")
_STYLE = {
    "svg.hashsalt": "sqlite-claims",  # without a fixed salt, the ids in the file are random
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_UNITS = {"x": "ratio", "": "number", "/s": "a second"}
# If the largest value is at least this many times the smallest value, the axis is logarithmic.
_LOG_FROM = 20
_ROW_IN, _PANEL_IN, _WIDTH_IN = 0.21, 0.6, 9.0
_OURS, _TARGET = "#1f6f8b", "#c0392b"
_MARK = {"markersize": 11, "markeredgewidth": 2}


def draw(figures: list[dict[str, Any]], digest: str, path: Path) -> None:
    """Draw the figures of one case, with one panel for each measure. ``digest`` is stored in the file."""
    measures = Counter(figure["name"].rpartition(": ")[2] for figure in figures)
    panels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for figure in figures:
        measure = figure["name"].rpartition(": ")[2]
        panels.setdefault((measure if measures[measure] > 1 else "", figure["unit"]), []).append(figure)
    heights = [len(panel) * _ROW_IN + _PANEL_IN for panel in panels.values()]
    with mpl.rc_context(_STYLE):
        drawn = Figure(figsize=(_WIDTH_IN, sum(heights)), layout="constrained")
        axes = drawn.subplots(len(panels), squeeze=False, gridspec_kw={"height_ratios": heights})
        for ((measure, unit), panel), (axis,) in zip(panels.items(), axes, strict=True):
            names = [figure["name"].removesuffix(f": {measure}") if measure else figure["name"] for figure in panel]
            _panel(axis, names, panel, ", ".join(part for part in (measure, _UNITS.get(unit, unit)) if part))
        drawn.savefig(path, format="svg", metadata={"Date": None, "Description": digest})


def _panel(axis: Any, names: list[str], panel: list[dict[str, Any]], label: str) -> None:
    rows = range(len(panel))
    values = [figure["value"] for figure in panel]
    lows = [max(0, figure["value"] - figure["low"]) for figure in panel]
    highs = [max(0, figure["high"] - figure["value"]) for figure in panel]
    axis.errorbar(values, rows, xerr=[lows, highs], fmt="o", color=_OURS, markersize=4, elinewidth=2)
    bounds = [(figure["target"]["bound"], row) for row, figure in enumerate(panel)]
    bounds = [(bound, row) for bound, row in bounds if bound is not None]
    axis.plot([bound for bound, _ in bounds], [row for _, row in bounds], "|", color=_TARGET, **_MARK)
    axis.set_yticks(rows, names)
    axis.set_ylim(len(panel) - 0.5, -0.5)
    shown = [*values, *(bound for bound, _ in bounds)]
    times = max(shown) / min(shown) if min(shown) > 0 else 0
    if times >= _LOG_FROM:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if times < _LOG_FROM * 50 else (1,)))
    else:
        axis.set_xlim(left=min(0, *shown))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(label)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
