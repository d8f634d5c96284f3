"""On random tables, the C core, the Python scan and a plain sort give the same answer. On damaged tables, both scans
end."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import apsw
from hypothesis import example, given
from hypothesis import strategies as st

from sqlite_claims.sqlite.scan import AGING_US_MAX, core_available, open_scanner

from .conftest import needs_core
from .tables import STATEMENTS, Row, in_order, lanes, table

# Values from small ranges cause ties, and some blocks end within such ties. Values from large ranges reach the limits
# of a column.
ends = st.sampled_from([-(2**63), 1 - 2**63, -(2**62), 2**62, 2**63 - 2, 2**63 - 1])
times = st.one_of(st.none(), st.integers(0, 3), st.integers(0, 300), st.integers(-(2**63), 2**63 - 1), ends)
tasks = st.lists(
    st.builds(
        Row,
        id=st.just(0),
        lane=st.integers(1, 4),
        priority=st.integers(1, 5),
        next_at=times,
        instance=st.integers(1, 3),
    ),
    max_size=250,
)
questions = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5), unique=True),
        st.one_of(st.integers(-1, 310), st.just(2**63 - 1)),
        st.one_of(st.none(), st.integers(1, 400), st.integers(1, AGING_US_MAX)),
        st.one_of(st.integers(0, 5), st.integers(0, 300), st.just(2**31 - 1)),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@given(tasks, questions)
@example([Row(0, next_at=1)] * 250, [([1], 1, None, 200, False), ([1], 1, 7, 200, True)])
def test_both_scans_answer_as_sorting_everything_does(
    tasks: list[Row], questions: list[tuple[list[int], int, int | None, int, bool]]
) -> None:
    rows = [Row(i, row.lane, row.priority, row.next_at, row.instance) for i, row in enumerate(tasks, 1)]
    paused = {2}
    scans = [False, True] if core_available() else [False]
    with closing(table(":memory:", rows, {1: 0, 2: 1, 3: 0})) as connection:
        scanners = [open_scanner(connection, use_c_core, STATEMENTS) for use_c_core in scans]
        for chosen, now, aging, limit, moving in questions:
            expected = in_order(rows, chosen, now, aging, limit, paused if moving else ())
            for scanner in scanners:
                assert list(scanner.ready_ids(lanes(*chosen), now, aging, limit, moving)) == expected
        for scanner in scanners:
            scanner.close()


# Values that a damaged page may contain in a column of integers.
values = st.one_of(
    st.integers(-3, 8),
    ends,
    st.none(),
    st.floats(),
    st.floats(-1, 8),
    st.text("0123 e.-", max_size=4),
    st.binary(max_size=2),
)
damaged_tasks = st.lists(st.tuples(st.integers(1, 2) | values, values, values, st.integers(1, 3)), max_size=80)


def damaged_table(tasks: list[tuple[Any, ...]]) -> apsw.Connection:
    """Make a table with these values in its columns. The table has no constraints that arbitrary values could
    violate."""
    connection = table(":memory:", [], {1: 0, 2: 1, 3: 0})
    with connection:
        query = "SELECT sql FROM sqlite_schema WHERE tbl_name = 'claims_tasks' AND sql IS NOT NULL ORDER BY type DESC"
        scripts = [script for (script,) in connection.execute(query)]
        connection.execute("DROP TABLE claims_tasks")
        for script in scripts:
            connection.execute(script.replace(") STRICT", ")").replace("NOT NULL,", ","))
        connection.executemany(
            "INSERT INTO claims_tasks (lane, priority, next_at, instance, name) VALUES (?, ?, ?, ?, random())", tasks
        )
    return connection


@given(damaged_tasks, questions)
@example([(1, 2.5, 500, 1)], [([1], 100, None, 10, False)])
@example([(1, 2.5, 5, 2)], [([1], 100, None, 1, True), ([1], 100, 10, 1, True)])
@example([(1, 3, 5.5, 2)] * 3, [([1], 100, None, 1, True)])
def test_a_scan_of_damaged_values_ends(
    tasks: list[tuple[Any, ...]], questions: list[tuple[list[int], int, int | None, int, bool]]
) -> None:
    needs_core()
    # Limit the number of steps. Otherwise, nothing could interrupt an endless scan, because a scan holds the
    # interpreter lock.
    steps = 0

    def goes_on_for_ever() -> bool:
        nonlocal steps
        steps += 1
        return steps > 2000

    with closing(damaged_table(tasks)) as connection:
        connection.set_progress_handler(goes_on_for_ever, 1000)
        for use_c_core in (True, False):
            with closing(open_scanner(connection, use_c_core, STATEMENTS)) as scanner:
                for chosen, now, aging, limit, moving in questions:
                    steps = 0
                    try:
                        ids = list(scanner.ready_ids(lanes(*chosen), now, aging, limit, moving))
                    except (apsw.CorruptError, TypeError, OverflowError):  # the store translates these errors
                        continue
                    assert len(ids) <= limit
