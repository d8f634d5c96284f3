"""``python -m benchmarks.publish``: writes ``benchmarks/results`` as tables in docs/performance.md and as plots.

For each case, the newest figures are published, even if the code no longer uses the names of the figures. This module
does not import the package, because results may be older than the code. A test compares the page with ``tables()``, and
the plots with their figures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"
BEGIN, END = "<!-- figures: written by make bench-report -->\n", "<!-- end of figures -->\n"

# The title and the description of each case, in the order of the page. Cases that are not listed here follow, sorted by
# name.
CASES = {
    "find-backlog": (
        "Finding work in a long backlog",
        "Calls of `find_available_tasks`, on stores that differ only in the number of ready tasks.",
    ),
    "find-behind": (
        "Finding work behind tasks of higher priority",
        "The same calls. The tasks named in a figure have a higher priority than the ready tasks.",
    ),
    "find-lanes": (
        "Finding work among many kinds and tags",
        "The same calls, with tasks spread over kinds and priorities, with aging, and with the Python scan.",
    ),
    "find-limits": (
        "Finding work behind full partitions of a limit",
        "The same calls, and a claim that is released. The tasks that can be claimed have a limit, too.",
    ),
    "cycle": (
        "Claiming and completing, one process",
        "Tasks per second, divided by those of a bare apsw loop or of plain C with the store's statements.",
    ),
    "add": ("Adding", "Tasks per second, divided by those of plain C with the store's own tables and statements."),
    "crowd": (
        "Processes that claim and complete without pause",
        "In alternating rounds, the processes wait for the writer on the doorbell, or by SQLite's own busy handler.",
    ),
    "durable": (
        "Durable completions",
        'In alternating rounds, with `durability="full"`, or with `synchronous=FULL`, which syncs within the commit.',
    ),
    "tail": (
        "The slowest claims, and the length of the -wal",
        "One process runs alone. It alternates with a bare apsw loop that runs its checkpoints within its commits.",
    ),
    "wake": (
        "Waking up",
        "The time from adding a task in one process to its claim in a process that slept, and the cost of sleeping.",
    ),
    "writes": (
        "Bytes written and system calls of an operation",
        "The kernel counts the bytes, and strace counts the system calls.",
    ),
    "pool": ("A pool of workers", "The tasks do nothing. Each result is stored."),
    "memory": (
        "Memory",
        "Peak memory of a process that finds and claims tasks, minus that of a process that only imports apsw.",
    ),
    "peers": (
        "Other queues",
        "Each queue runs through its public API, in the same run, with its default and its best settings.",
    ),
    "layouts": ("Alternative layouts of the file", "The same cycles on tables and indices with a few edits."),
    "idle": ("Workers without tasks", "The cost of workers that wait for tasks."),
    "renewals": ("Renewing claims", "The cost of keeping the claims of long tasks."),
    "worker-wake": ("Waking up a worker", "A sleeping worker runs a task that a different process adds."),
}
_PROCESSOR = " (processor time)"


@dataclass(frozen=True, slots=True)
class Case:
    """The newest figures of a case, and the facts that the figures depend on."""

    name: str
    facts: dict[str, Any]
    figures: list[dict[str, Any]]

    @property
    def title(self) -> str:
        plain = self.name.removesuffix(_PROCESSOR)
        return CASES.get(plain, (plain, ""))[0] + self.name.removeprefix(plain)

    @property
    def plot(self) -> Path:
        return PLOTS / f"{self.name.removesuffix(_PROCESSOR)}{'-cpu' * self.name.endswith(_PROCESSOR)}.svg"

    @property
    def digest(self) -> str:
        """A hash of the values that the plot shows."""
        drawn = [[figure[key] for key in ("name", "value", "unit", "low", "high", "target")] for figure in self.figures]
        return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()


def newest(results: Path = RESULTS) -> list[Case]:
    """Return the cases that have results."""
    found: dict[str, Case] = {}
    kept = [json.loads(path.read_text("utf-8")) for path in results.glob("*.json")]
    for content in sorted(kept, key=lambda content: str(content["facts"]["at"])):
        facts = content["facts"]
        here: dict[str, Case] = {}
        for figure in content["figures"]:
            name = figure.get("case") or facts["case"].removesuffix("-cpu")
            name += _PROCESSOR * (facts.get("clock") == "processor")
            here.setdefault(name, Case(name, facts, [])).figures.append(figure)
        found |= here
    order = list(CASES)
    return sorted(
        found.values(), key=lambda case: (order.index(case.name) if case.name in order else len(order), case.name)
    )


def tables(cases: list[Case]) -> str:
    """Return the text between the begin mark and the end mark of the page."""
    if not cases:
        return "\nThere are no figures yet.\n\n"
    return "\n" + "\n".join(_lines(cases)) + "\n"


def _lines(cases: list[Case]) -> Iterator[str]:
    told = ""
    for case in cases:
        yield f"### {case.title}\n"
        if (circumstances := _circumstances(case.facts)) != told:  # facts are not shown twice
            told = circumstances
            yield f"{told}\n"
        yield from _section(case)


def _section(case: Case) -> Iterator[str]:
    about = CASES.get(case.name.removesuffix(_PROCESSOR), ("", ""))[1]
    yield f"{about}\n" if about else ""
    measures, plain = _split(case.figures)
    if plain:
        yield "| figure | median | middle half | target | |"
        yield "|---|---|---|---|---|"
        for figure in plain:
            spread = "" if figure["low"] == figure["high"] else f"{number(figure['low'])} to {number(figure['high'])}"
            bound, verdict = _target(figure)
            yield f"| {_cell(figure['name'])} | {_value(figure)} | {spread} | {bound} | {verdict} |"
        yield ""
    if measures:
        rows = dict.fromkeys(row for told in measures.values() for row in told)
        yield "| medians | " + " | ".join(_cell(measure) for measure in measures) + " |"
        yield "|---" * (len(measures) + 1) + "|"
        for row in rows:
            cells = [_median(told[row]) if row in told else "" for told in measures.values()]
            yield f"| {_cell(row)} | {' | '.join(cells)} |"
        yield ""
    yield f"![{case.title}]({case.plot.relative_to(PAGE.parent)})\n"


def _split(
    figures: list[dict[str, Any]],
) -> tuple[dict[str, dict[str, dict[str, Any]]], list[dict[str, Any]]]:
    """Split the figures into a table and a list.

    Figures with names like ``subject: measure`` go into the table, by measure and subject, if there are several
    measures with several subjects. All other figures go into the list.
    """
    measures: dict[str, dict[str, dict[str, Any]]] = {}
    for figure in figures:
        row, colon, measure = figure["name"].rpartition(": ")
        if colon:
            measures.setdefault(measure, {})[row] = figure
    measures = {measure: told for measure, told in measures.items() if len(told) > 1}
    if len(measures) < 2:
        return {}, figures
    taken = {figure["name"] for told in measures.values() for figure in told.values()}
    return measures, [figure for figure in figures if figure["name"] not in taken]


def _target(figure: dict[str, Any]) -> tuple[str, str]:
    target = figure["target"]
    bound = "" if target["bound"] is None else f"{target['sense']} {target['bound']:g}"
    return bound, {True: "met", False: "**missed**", None: ""}[figure.get("met")]


def _median(figure: dict[str, Any]) -> str:
    bound, verdict = _target(figure)
    return _value(figure) + (f" ({bound}: {verdict})" if bound else "")


def _value(figure: dict[str, Any]) -> str:
    return f"{number(figure['value'])} {figure['unit']}".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _circumstances(facts: dict[str, Any]) -> str:
    commit = f"commit `{facts['commit'][:8]}`" if facts.get("commit") else "no commit"
    parts = [
        facts["at"][:10],
        commit + " with changes" * bool(facts.get("changed_since_commit")),
        facts.get("cpu"),
        f"{facts.get('cores')} cores",
        facts.get("system"),
        facts.get("file_system"),
        f"a sync of the disk {facts['fdatasync_us']:,} µs" if "fdatasync_us" in facts else None,
        f"a bare commit {facts['commit_us']:g} µs" if "commit_us" in facts else None,
        f"Python {facts.get('python')}",
        f"SQLite {facts.get('sqlite')}",
        "C core" if facts.get("c_core") else "no C core",
        f"load {facts.get('load_before')} before and {facts.get('load_after')} after",
    ]
    return f"*From here on: {', '.join(part for part in parts if part)}.*"


def number(value: float) -> str:
    """Format a number with three significant digits. More digits would be noise."""
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def page(text: str, cases: list[Case]) -> str:
    """Return the page with its tables replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{tables(cases)}{END}{after}"


def main() -> None:
    """Write the page and the plots."""
    from benchmarks.plots import draw  # imported here, because ``plots`` needs matplotlib

    cases = newest()
    PAGE.write_text(page(PAGE.read_text("utf-8"), cases), "utf-8")
    PLOTS.mkdir(exist_ok=True)
    for path in set(PLOTS.glob("*.svg")) - {case.plot for case in cases}:
        path.unlink()
    for case in cases:
        draw(case.figures, case.digest, case.plot)
    print(f"{PAGE.relative_to(ROOT)}: {len(cases)} cases, {sum(len(case.figures) for case in cases)} figures")


if __name__ == "__main__":
    main()
