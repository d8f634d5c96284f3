"""The order of claimable tasks. Each test covers one case."""

from __future__ import annotations

import pytest

from sqlite_claims import InvalidArgumentError
from sqlite_claims.sqlite.scan import AGING_US_MAX
from sqlite_claims.validate import LIMIT_MAX, WALL_US_MAX

from .conftest import Open
from .tables import Row, in_order, lanes

NOW = 1000


def test_lower_priority_numbers_come_first_then_older_then_earlier_added(scan: Open) -> None:
    rows = [Row(1, priority=3, next_at=5), Row(2, priority=1, next_at=900), Row(3, next_at=4), Row(4, next_at=4)]
    _, scanner = scan(rows)
    assert list(scanner.ready_ids(lanes(1), NOW, None, 10, False)) == [2, 3, 4, 1]


def test_with_aging_one_interval_of_waiting_is_worth_one_level(scan: Open) -> None:
    rows = [Row(1, priority=2, next_at=500), Row(2, priority=3, next_at=399), Row(3, priority=3, next_at=401)]
    _, scanner = scan(rows)
    assert list(scanner.ready_ids(lanes(1), NOW, 100, 10, False)) == [2, 1, 3]


def test_with_aging_equal_places_go_by_the_order_of_adding_also_across_priorities(scan: Open) -> None:
    rows = [Row(1, priority=4, next_at=100), Row(2, priority=2, next_at=300), Row(3, priority=3, next_at=200)]
    _, scanner = scan(rows)
    assert list(scanner.ready_ids(lanes(1), NOW, 100, 10, False)) == [1, 2, 3]


@pytest.mark.parametrize("aging", [None, 1, 50, NOW, AGING_US_MAX])
def test_lanes_are_merged(scan: Open, aging: int | None) -> None:
    rows = [Row(i, lane=1 + i % 7, priority=1 + i % 5, next_at=i * 37 % 400) for i in range(1, 500)]
    _, scanner = scan(rows)
    chosen = lanes(2, 7, 5, 99)
    assert list(scanner.ready_ids(chosen, NOW, aging, 1000, False)) == in_order(rows, chosen, NOW, aging)


def test_only_the_lanes_asked_for_are_offered(scan: Open) -> None:
    _, scanner = scan([Row(1, lane=1), Row(2, lane=2), Row(3, lane=-2), Row(4, lane=3)])
    assert list(scanner.ready_ids(lanes(2), NOW, None, 10, False)) == [2]


def test_a_row_is_due_at_its_time_and_not_before(scan: Open) -> None:
    _, scanner = scan([Row(1, next_at=NOW), Row(2, next_at=NOW + 1), Row(3, next_at=None)])
    assert list(scanner.ready_ids(lanes(1), NOW, None, 10, False)) == [1]
    assert list(scanner.ready_ids(lanes(1), NOW + 1, None, 10, False)) == [1, 2]


@pytest.mark.parametrize("aging", [None, 100])
def test_a_priority_with_nothing_due_hides_none_behind_it(scan: Open, aging: int | None) -> None:
    rows = [Row(1, priority=1, next_at=NOW + 1), Row(2, priority=2, next_at=NOW + 5), Row(3, priority=5, next_at=1)]
    rows += [Row(10 + i, priority=3, next_at=NOW - 3 + i) for i in range(6)]
    _, scanner = scan(rows)
    assert list(scanner.ready_ids(lanes(1), NOW, aging, 10, False)) == in_order(rows, [1], NOW, aging)


@pytest.mark.parametrize("limit", [1, 2, 63, 64, 65, 299, 300, 301, LIMIT_MAX])
@pytest.mark.parametrize("aging", [None, 10])
def test_the_limit_cuts_the_order_off_and_changes_nothing_else(scan: Open, limit: int, aging: int | None) -> None:
    # All rows have the same time, so the scan can find the rows after a block only by their ids.
    rows = [Row(i, lane=1 + i % 2, priority=2 + i % 2, next_at=7) for i in range(1, 301)]
    _, scanner = scan(rows)
    assert list(scanner.ready_ids(lanes(1, 2), NOW, aging, limit, False)) == in_order(rows, [1, 2], NOW, aging, limit)


def test_nothing_is_found_in_an_empty_store_without_lanes_or_with_limit_0(scan: Open) -> None:
    _, empty = scan([])
    assert list(empty.ready_ids(lanes(1, 2), NOW, None, 10, False)) == []
    _, scanner = scan([Row(1)])
    assert list(scanner.ready_ids(lanes(), NOW, None, 10, False)) == []
    assert list(scanner.ready_ids(lanes(1), NOW, None, 0, False)) == []
    assert list(scanner.ready_ids(lanes(1), -1, None, 10, False)) == []


@pytest.mark.parametrize("aging", [None, 60, 3600])
def test_a_thousand_streams_taken_in_turn_keep_the_order(scan: Open, aging: int | None) -> None:
    rows = [Row(i, lane=1 + i % 200, priority=1 + i // 200 % 5, next_at=i // 50) for i in range(1, 6001)]
    _, scanner = scan(rows)
    chosen = lanes(*range(1, 201))
    assert list(scanner.ready_ids(chosen, NOW, aging, 5000, False)) == in_order(rows, chosen, NOW, aging, 5000)


@pytest.mark.parametrize("aging", [1, WALL_US_MAX, AGING_US_MAX])
def test_no_aging_interval_overflows(scan: Open, aging: int) -> None:
    end = 2**63 - 1
    rows = [Row(1, priority=5, next_at=0), Row(2, priority=5, next_at=end), Row(3, priority=4, next_at=end)]
    rows += [Row(4, priority=1, next_at=end), Row(5, priority=1, next_at=-end), Row(6, priority=5, next_at=-end)]
    _, scanner = scan(rows)
    assert list(scanner.ready_ids(lanes(1), end, aging, 10, False)) == in_order(rows, [1], end, aging)


@pytest.mark.parametrize("aging", [0, -1, AGING_US_MAX + 1])
def test_an_aging_interval_out_of_bounds_is_refused(scan: Open, aging: int) -> None:
    _, scanner = scan([Row(1)])
    with pytest.raises(InvalidArgumentError):
        scanner.ready_ids(lanes(1), NOW, aging, 10, False)


def test_while_instances_move_the_rows_of_those_not_in_progress_are_skipped(scan: Open) -> None:
    states = {1: 0, 2: 1, 3: 4, 4: 0}  # instance 5 does not exist
    rows = [Row(i, instance=1 + i % 5, next_at=i) for i in range(1, 400)]
    _, scanner = scan(rows, states)
    assert list(scanner.ready_ids(lanes(1), NOW, None, 100, True)) == in_order(rows, [1], NOW, None, 100, {2, 3, 5})


def test_a_paused_backlog_at_the_head_hides_nothing_behind_it(scan: Open) -> None:
    rows = [Row(i, instance=2, next_at=1) for i in range(1, 1001)] + [Row(5000, instance=1, next_at=2)]
    _, scanner = scan(rows, {2: 1})
    assert list(scanner.ready_ids(lanes(1), NOW, None, 1, True)) == [5000]


def test_no_instance_is_asked_while_none_moves(scan: Open) -> None:
    _, scanner = scan([Row(1, instance=2), Row(2, instance=77)], {2: 1})
    assert list(scanner.ready_ids(lanes(1), NOW, None, 10, False)) == [1, 2]


def test_a_scan_sees_what_its_own_transaction_has_written(scan: Open) -> None:
    connection, scanner = scan([Row(1), Row(2)])
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE claims_tasks SET next_at = NULL WHERE id = 1")
    assert list(scanner.ready_ids(lanes(1), NOW, None, 10, False)) == [2]
    connection.execute("ROLLBACK")
    assert list(scanner.ready_ids(lanes(1), NOW, None, 10, False)) == [1, 2]
