"""Alternative layouts of the database file, each timed together with the current layout.

A layout consists of the package's schema and statements with a few edits of their text. The loop that claims and
completes tasks runs the same SQL statements as the store. The loop runs as little Python code as possible between the
statements, so that the cost of the file's layout is visible. If an edit doesn't match the current text, an error is
raised. Then the layout must be adapted or removed.
"""

from __future__ import annotations

import tempfile
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from sqlite_claims.sqlite.codes import CLAIMED_SIDE
from sqlite_claims.sqlite.connection import PAGE_SIZE
from sqlite_claims.sqlite.scan import ScanStatements, open_scanner
from sqlite_claims.sqlite.statements import migrations, sql

from .pairs import Figure, figure, interleaved, microseconds, ratios, repeated
from .sizes import Sizes
from .stores import WORKER

Edits = tuple[tuple[str, str], ...]

# The size in bytes of the -wal from which a checkpoint runs. The size is the same for every page size.
_CHECKPOINT_BYTES = 8 << 20
_LEASE_US = 30_000_000
_LANE = 1
_SESSION = 1
# The names of the bound values of each statement of the loop.
_BINDINGS = {
    "claim_one": ("row", "floor", "lease", "worker", "session", "wall", "expires"),
    "complete_plain": ("row", "wall", "now", "token", "task", "instance"),
    "count_completed": ("instance",),
    "store_output": ("row", "output"),
    "drop_claim": ("row",),
    "any_open": ("instance_id",),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout, described by the differences between this layout and the current layout."""

    name: str
    page_size: int = PAGE_SIZE
    auto_vacuum: str = "incremental"
    payload: int = 64  # length of each task's input in bytes
    output: int = 0  # length of each task's output in bytes
    schema: Edits = ()
    statements: Mapping[str, Edits] = field(default_factory=dict)
    added: Mapping[str, str] = field(default_factory=dict)  # statements that the current layout doesn't have
    complete: tuple[str, ...] = ("complete_plain", "count_completed")
    has_sides: bool = True
    in_row: bool = False

    def text(self, name: str) -> str:
        """Return the text of a statement in this layout."""
        return self.added[name] if name in self.added else edited(getattr(sql, name), self.statements.get(name, ()))


def _now_us() -> int:
    return time.time_ns() // 1000


def edited(text: str, edits: Edits) -> str:
    """Return the text after each edit. Each edit must match exactly one place in the text."""
    for old, new in edits:
        if text.count(old) != 1:
            raise ValueError(f"{old!r} stands {text.count(old)} times in: {text}")
        text = text.replace(old, new)
    return text


_INPUT_FROM = "    input_from    INTEGER,"
_NEXT_INDEX = "CREATE INDEX claims_task_next ON"
_TO_CLAIMED_SIDE = " lane = iif(state = 2, lane, iif(lane > 0, lane + 4294967296, lane - 4294967296)),"
_FROM_CLAIMED_SIDE = ", lane = iif(lane > 0, lane - 4294967296, lane + 4294967296)"
_ON_CLAIMED_SIDE = " AND lane & -2147483648 = 4294967296"
_OPEN_TASKS = " AND total - completed - failed - cancelled > 1"

PRESENT = Layout("present")
_IN_ROW: dict[str, Edits] = {
    "add_task": (("input_from)", "input_from, data)"), ("?, ?, ?)", "?, ?, ?, ?)")),
    "task_found": (("coalesce(n.data,", "coalesce(t.data,"), (" LEFT JOIN claims_inputs n ON n.task = t.id", "")),
}
_DATA_COLUMN: Edits = ((_INPUT_FROM, f"    data BLOB,\n{_INPUT_FROM}"),)

HELD_INDEX = Layout(
    "claims found by an index of their own",
    schema=((_NEXT_INDEX, f"CREATE INDEX claims_task_held ON claims_tasks (session) WHERE state = 2;\n{_NEXT_INDEX}"),),
    statements={
        "claim_one": ((_TO_CLAIMED_SIDE, ""),),
        "complete_plain": ((_FROM_CLAIMED_SIDE, ""), (_ON_CLAIMED_SIDE, "")),
    },
    has_sides=False,
)
_CLAIM_TABLE = """CREATE TABLE claims_claim (
    task INTEGER PRIMARY KEY, token INTEGER NOT NULL, worker TEXT NOT NULL, session INTEGER, lease_expires INTEGER,
    started_wall INTEGER NOT NULL, expires_wall INTEGER
) STRICT;
"""
# In this layout, a claim doesn't change the task's row, so each search has to skip claimed tasks.
CLAIM_TABLE = Layout(
    "a table of claims",
    schema=((_NEXT_INDEX, _CLAIM_TABLE + _NEXT_INDEX),),
    statements={
        "scan_head": (
            (
                " AND next_at IS NOT NULL",
                " AND next_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM claims_claim WHERE task = claims_tasks.id)",
            ),
        ),
        "complete_plain": (
            (_FROM_CLAIMED_SIDE, ", token = ?4, attempts = attempts + 1"),
            (_ON_CLAIMED_SIDE, ""),
            (
                " AND token = ?4 AND state = 2",
                " AND EXISTS (SELECT 1 FROM claims_claim WHERE task = ?1 AND token = ?4)",
            ),
        ),
    },
    added={
        "claim_one": "INSERT INTO claims_claim SELECT id, max(token, ?2) + 1, ?4, ?5, ?3, ?6, ?7"
        " FROM claims_tasks WHERE id = ?1",
        "drop_claim": "DELETE FROM claims_claim WHERE task = ?",
    },
    complete=("complete_plain", "drop_claim", "count_completed"),
    has_sides=False,
)
NO_COUNTER = Layout(
    "no counter in the instance", statements={"complete_plain": ((_OPEN_TASKS, ""),)}, complete=("complete_plain",)
)
_ANY_OPEN = """SELECT EXISTS (
    SELECT 1 FROM claims_tasks INDEXED BY claims_task_open WHERE instance = ? AND state < 3
)"""
OPEN_INDEX = Layout(
    "no counter, an index of open tasks",
    schema=(
        (_NEXT_INDEX, f"CREATE INDEX claims_task_open ON claims_tasks (instance) WHERE state < 3;\n{_NEXT_INDEX}"),
    ),
    statements=NO_COUNTER.statements,
    added={"any_open": _ANY_OPEN},
    complete=("complete_plain", "any_open"),
)
LARGE = 4096
HUGE = 256 * 1024


# The groups of layouts. All layouts of a group are compared with the first layout of the group.
COMPARED = [
    [
        PRESENT,
        *(Layout(f"page_size {size}", page_size=size) for size in (1024, 4096, 8192)),
        Layout("no auto_vacuum", auto_vacuum="none"),
        HELD_INDEX,
        CLAIM_TABLE,
        Layout("input of 64 bytes in the row", schema=_DATA_COLUMN, statements=_IN_ROW, in_row=True),
        NO_COUNTER,
        OPEN_INDEX,
    ],
    [
        Layout("present, 4 KiB of input", payload=LARGE),
        Layout("input of 4 KiB in the row", payload=LARGE, schema=_DATA_COLUMN, statements=_IN_ROW, in_row=True),
    ],
    *(
        [
            Layout(f"present, {name} of output", output=size),
            *(Layout(f"page_size {pages}, {name} of output", output=size, page_size=pages) for pages in (1024, 4096)),
        ]
        for name, size in (("4 KiB", LARGE), ("256 KiB", HUGE))
    ),
]
# The layouts whose scan depends on claimed tasks.
_BEHIND_CLAIMS = [PRESENT, HELD_INDEX, CLAIM_TABLE]


class Trial:
    """One file in one layout, with ready tasks, and the loop that claims and completes them."""

    def __init__(self, layout: Layout, folder: Path, tasks: int) -> None:
        self.layout = layout
        self._output = bytes(layout.output)
        self._connection = connection = apsw.Connection(
            str(folder / f"{layout.name}-{tasks}.db".replace(" ", "-")), statementcachesize=256
        )
        connection.pragma("page_size", layout.page_size)
        connection.pragma("auto_vacuum", layout.auto_vacuum)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "NORMAL")
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        self._bound_wal()
        self._texts = {
            name: layout.text(name) for name in ("sweep_state", "task_found", "claim_one", *self._completion())
        }
        first, *later = [script for _, script in migrations()]
        # The first script has the names of the first schema version.
        schema = tuple(
            (old.replace("claims_tasks", "claims_task"), new.replace("claims_tasks", "claims_task"))
            for old, new in layout.schema
        )
        connection.execute(edited(first, schema))
        for script in later:
            connection.execute(script)
        self._fill(tasks)
        self._scanner = open_scanner(
            connection,
            None,
            ScanStatements(layout.text("scan_head"), layout.text("scan_range"), sql.scan_instance_state),
        )
        sides = (_LANE, _LANE + CLAIMED_SIDE) if layout.has_sides else (_LANE,)
        self._lanes = array("q", sides)

    def _completion(self) -> tuple[str, ...]:
        return (*self.layout.complete, *["store_output"] * bool(self._output))

    def _bound_wal(self) -> None:
        self._connection.wal_autocheckpoint(_CHECKPOINT_BYTES // self.layout.page_size)

    def _fill(self, tasks: int) -> None:
        connection, now, payload = self._connection, _now_us(), bytes(self.layout.payload)
        with connection:
            connection.execute(sql.create_meta, (1, "", 0, now, 0))
            connection.execute(sql.add_instance, ("instance", "", now))
            connection.execute(sql.add_lane, (0, "", "[]", 0))
            connection.execute(sql.lanes_changed)
            own = (payload,) if self.layout.in_row else ()
            connection.executemany(
                self.layout.text("add_task"),
                (
                    (id, 1, f"task-{id:07}", _LANE, 3, 1, now, now, 0, 3, 5, 1, 0, now, None, None, None, *own)
                    for id in range(1, tasks + 1)
                ),
            )
            if not self.layout.in_row:
                connection.executemany(sql.add_input, ((id, payload) for id in range(1, tasks + 1)))
            connection.execute(sql.count_added, (1, tasks, 0))
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def cycle(self) -> None:
        """Claim the next task and complete it, in two transactions."""
        execute, texts = self._connection.execute, self._texts
        execute("BEGIN IMMEDIATE")
        now = _now_us()
        state: Any = execute(texts["sweep_state"], (now, now)).fetchall()[0]
        (row,) = self._scanner.ready_ids(self._lanes, now, state[0], 1, bool(state[2]))
        found: Any = execute(texts["task_found"], (row,)).fetchall()[0]
        values = self._values(row, found[9] + 1, found[2], now)
        execute(texts["claim_one"], [values[name] for name in _BINDINGS["claim_one"]])
        execute("COMMIT")
        execute("BEGIN IMMEDIATE")
        for statement in self._completion():
            execute(texts[statement], [values[name] for name in _BINDINGS[statement]]).fetchall()
        execute("COMMIT")

    def _values(self, row: int, token: int, task: str, now: int) -> dict[str, object]:
        return {
            "row": row, "floor": 0, "lease": now + _LEASE_US, "worker": WORKER, "session": _SESSION, "wall": now,
            "now": now, "expires": now + _LEASE_US, "token": token, "task": task, "instance": "instance",
            "instance_id": 1, "output": self._output,
        }  # fmt: skip

    def claim_first(self, count: int) -> None:
        """Claim the first ``count`` tasks, with leases that don't expire during the measurement."""
        text, now = self.layout.text("claim_one"), _now_us() + 3_600_000_000
        with self._connection:
            self._connection.executemany(
                text,
                (
                    [self._values(row, 1, "", now)[name] for name in _BINDINGS["claim_one"]]
                    for row in range(1, count + 1)
                ),
            )

    def scan(self) -> None:
        """Find the next ten ready tasks."""
        self._connection.execute("BEGIN")
        found = self._scanner.ready_ids(self._lanes, _now_us(), None, 10, False)
        self._connection.execute("COMMIT")
        if len(found) != 10:
            raise RuntimeError(f"{self.layout.name}: found {len(found)} of 10")

    def frames_per_cycle(self, count: int) -> float:
        """Return the number of pages that one cycle writes to the -wal."""
        self._connection.wal_autocheckpoint(0)
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        for _ in range(count):
            self.cycle()
        frames: int = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)[0]
        self._bound_wal()
        return frames / count

    def close(self) -> None:
        """Close the file."""
        self._scanner.close()
        self._connection.close()


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Measure each layout: its cycles per second (relative to the first layout of the group), its writes, its scans."""
    with tempfile.TemporaryDirectory(prefix="sqlite-claims-bench-") as folder:
        for layouts in COMPARED:
            yield from _cycles(layouts, sizes, Path(folder))
        yield from _scans(sizes, Path(folder))


def _cycles(layouts: list[Layout], sizes: Sizes, folder: Path) -> Iterator[Figure]:
    count = max(sizes.cycles // (30 if layouts[0].output == HUGE else 2), 1)
    turns = sizes.rounds * 2
    with ExitStack() as stack:
        trials = {
            layout.name: stack.enter_context(closing(Trial(layout, folder, count * (turns + 2) + 1)))
            for layout in layouts
        }
        taken = interleaved({name: repeated(trial.cycle, count) for name, trial in trials.items()}, turns)
        base, *others = trials
        for name in others:
            detail = {"other": base, **microseconds({"ours": taken[name], "other": taken[base]})}
            yield figure(f"{name}: cycles/s", ratios(taken[name], taken[base], rate=True), "x", detail=detail)
        for name, trial in trials.items():
            yield figure(f"{name}: frames/cycle", [trial.frames_per_cycle(count)], "")


def _scans(sizes: Sizes, folder: Path) -> Iterator[Figure]:
    with ExitStack() as stack:
        rounds = {}
        for layout in _BEHIND_CLAIMS:
            trial = stack.enter_context(closing(Trial(layout, folder, sizes.not_yet + 10)))
            trial.claim_first(sizes.not_yet)
            rounds[layout.name] = repeated(trial.scan, sizes.looks // 20 or 1)
        for name, taken in interleaved(rounds, sizes.rounds * 2).items():
            yield figure(f"{name}: scan behind {sizes.not_yet:,} claims", [seconds * 1e6 for seconds in taken], "µs")
