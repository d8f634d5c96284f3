"""On random tables the C core, the Python scan and a plain sort agree."""

from __future__ import annotations

from contextlib import closing

from hypothesis import example, given
from hypothesis import strategies as st

from sqlite_claims.sqlite.scan import AGING_US_MAX, core_available, open_scanner

from .tables import STATEMENTS, Row, in_order, lanes, table

# Small ranges make ties, and blocks that end within ties; large ones reach the limits of a column.
times = st.one_of(st.none(), st.integers(0, 3), st.integers(0, 300), st.integers(-(2**63), 2**63 - 1))
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
