"""The bar of task states and the line of rates that ``top`` shows on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from ...model import TaskState

_LEVELS = "▁▂▃▄▅▆▇█"
_STYLES = {
    TaskState.COMPLETED: "green",
    TaskState.FAILED: "red",
    TaskState.CANCELLED: "magenta",
    TaskState.CLAIMED: "yellow",
    TaskState.READY: "blue",
    TaskState.SCHEDULED: "cyan",
    TaskState.BLOCKED: "bright_black",
}


def state_bar(counts: Mapping[TaskState, int], width: int) -> Text:
    """Return a bar of ``width`` characters, in which the length of each colour is the share of a state.

    Each state with any tasks has at least one character.
    """
    total = sum(counts.values())
    if not total or width < len(_STYLES):
        return Text()
    lengths = {state: max(1, counts[state] * width // total) for state in _STYLES if counts[state]}
    longest = max(lengths, key=lambda state: lengths[state])
    lengths[longest] += width - sum(lengths.values())
    return Text.assemble(*(("█" * length, _STYLES[state]) for state, length in lengths.items()))


def rate_line(rates: Sequence[float], width: int) -> str:
    """Return the newest rates as a line of ``width`` characters at most. The highest rate has the highest level."""
    newest = rates[-width:]
    highest = max(newest, default=0.0)
    if highest <= 0.0:
        return _LEVELS[0] * len(newest)
    return "".join(_LEVELS[round(rate / highest * (len(_LEVELS) - 1))] for rate in newest)
