"""Schedules: ticks, catching up, changes of the wall clock, pauses, and transactions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sqlite_claims import AlreadyExistsError, Cron, Every, InvalidArgumentError, NewTask, NotFoundError, RetryPolicy
from sqlite_claims.testing import ManualClock

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TASK = NewTask("t", b"input", kind="report")


@pytest.fixture(autouse=True)
def _noon(clock: ManualClock) -> None:
    set_wall(clock, "2026-03-01T12:00:00")


def set_wall(clock: ManualClock, text: str) -> None:
    """Set the wall clock, without any time passing on the other clocks."""
    at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    clock.step_wall(at - datetime.fromtimestamp(clock.wall_us() / 1e6, UTC))


def ticks(store: Any) -> list[str]:
    """Look for work, and return the times of all ticks so far, in the order of adding."""
    store.find_available_tasks("w", 1)
    return names(store)


def names(store: Any) -> list[str]:
    return [instance.instance_id.removeprefix("s@") for instance in store.list_instances()]


def test_each_tick_adds_one_instance_with_the_task(store: Any, clock: ManualClock) -> None:
    task = NewTask("t", b"\x00\xff", kind="k", priority=1, tags=["a", "b"], max_attempts=7, retry=RetryPolicy(5))
    store.set_schedule("s", Every(HOUR), task, definition_hash="v1")
    assert ticks(store) == []
    clock.advance(HOUR)
    (found,) = store.find_available_tasks("w", 9)
    assert (found.instance_id, found.task_id, found.input) == ("s@2026-03-01T13:00:00Z", "t", b"\x00\xff")
    assert (found.kind, found.priority, found.tags, found.workflow_definition_hash) == ("k", 1, ("a", "b"), "v1")
    info = store.get_task(found.instance_id, "t")
    assert (info.max_attempts, info.retry, info.available_at) == (
        7,
        RetryPolicy(5),
        datetime(2026, 3, 1, 13, tzinfo=UTC),
    )
    assert ticks(store) == ["2026-03-01T13:00:00Z"]


def test_every_call_that_looks_for_work_adds_ticks(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(HOUR), TASK)
    clock.advance(HOUR)
    assert store.wait_for_tasks(0)
    clock.advance(HOUR)
    assert len(store.claim_available_tasks("w", 9, ttl=None)) == 2
    clock.advance(HOUR)
    with store.transaction() as tx:
        assert [claimed.task.instance_id for claimed in tx.claim_available_tasks("w", 9)] == ["s@2026-03-01T15:00:00Z"]
    assert len(names(store)) == 3


def test_a_cron_schedule_counts_in_its_time_zone(store: Any, clock: ManualClock) -> None:
    set_wall(clock, "2026-03-27T12:00:00")
    store.set_schedule("s", Cron("30 2 * * *", timezone="Europe/Berlin"), TASK, catch_up="all")
    clock.advance(4 * DAY)
    assert ticks(store) == [
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:00:00Z",  # 02:30 does not exist on this day: the first moment after the gap
        "2026-03-30T00:30:00Z",
        "2026-03-31T00:30:00Z",
    ]


def test_latest_adds_only_the_newest_missed_tick(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Cron("*/5 * * * *"), TASK)
    clock.advance(1000 * DAY + 7 * MINUTE)
    assert ticks(store) == ["2028-11-25T12:05:00Z"]


def test_all_adds_the_newest_thousand_missed_ticks_oldest_first(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Cron("* * * * *"), TASK, catch_up="all")
    clock.advance(1500 * DAY)
    while len(ticks(store)) < 1000:
        pass
    added = ticks(store)
    assert added == sorted(added)
    assert len(added) == 1000
    assert added[-1] == "2030-04-09T12:00:00Z"


def test_none_adds_the_ticks_that_are_less_than_a_minute_late(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(20), TASK, catch_up="none")
    clock.advance(DAY)
    assert ticks(store) == ["2026-03-02T11:59:20Z", "2026-03-02T11:59:40Z", "2026-03-02T12:00:00Z"]
    store.set_schedule("s", Every(HOUR), TASK, catch_up="none")
    clock.advance(HOUR + MINUTE)
    assert len(ticks(store)) == 3
    (info,) = store.list_schedules()
    assert info.next_at == datetime(2026, 3, 2, 14, tzinfo=UTC)


def test_a_late_task_has_the_position_of_its_tick(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(HOUR), TASK)
    clock.advance(HOUR + MINUTE / 2)
    store.add_instance("later", [TASK])
    clock.advance(MINUTE)
    assert [task.instance_id for task in store.find_available_tasks("w", 9)] == ["s@2026-03-01T13:00:00Z", "later"]


def test_the_delay_of_the_task_begins_at_the_tick(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(HOUR), NewTask("t", delay=600))
    clock.advance(HOUR + 5 * MINUTE)
    assert ticks(store) == ["2026-03-01T13:00:00Z"]
    assert store.find_available_tasks("w", 9) == []
    clock.advance(5 * MINUTE)
    assert len(store.find_available_tasks("w", 9)) == 1


def test_ticks_within_a_second_show_microseconds(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(0.25), TASK, catch_up="all")
    clock.advance(0.5)
    assert ticks(store) == ["2026-03-01T12:00:00.250000Z", "2026-03-01T12:00:00.500000Z"]


def test_a_small_step_back_repeats_nothing(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(HOUR), TASK)
    clock.advance(HOUR)
    assert ticks(store) == ["2026-03-01T13:00:00Z"]
    clock.step_wall(-20 * HOUR)
    for _ in range(20):
        clock.advance(HOUR)
        assert ticks(store) == ["2026-03-01T13:00:00Z"]
    clock.advance(HOUR)
    assert ticks(store)[1:] == ["2026-03-01T14:00:00Z"]


def test_after_a_long_step_back_ticks_count_from_the_clock(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(HOUR), TASK)
    clock.advance(HOUR)
    ticks(store)
    clock.step_wall(-3 * DAY)
    assert ticks(store) == ["2026-03-01T13:00:00Z"]
    (info,) = store.list_schedules()
    assert info.next_at == datetime(2026, 2, 26, 14, tzinfo=UTC)
    clock.advance(HOUR)
    assert ticks(store)[1:] == ["2026-02-26T14:00:00Z"]
    for _ in range(3 * 24):
        clock.advance(HOUR)
        ticks(store)
    # The clock has reached the earlier ticks again. The tick whose instance is stored is not added twice.
    assert len(names(store)) == 2 + 3 * 24 - 1 + 1 - 1
    assert len(set(names(store))) == len(names(store))


def test_a_clock_that_returns_goes_on_from_the_latest_tick(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(HOUR), TASK, catch_up="all")
    clock.advance(HOUR)
    assert ticks(store) == ["2026-03-01T13:00:00Z"]
    set_wall(clock, "1970-01-01T00:30:00")
    assert len(ticks(store)) == 1
    clock.advance(HOUR)
    assert ticks(store)[1:] == ["1970-01-01T01:00:00Z"]
    set_wall(clock, "2026-03-01T15:10:00")
    assert ticks(store)[2:] == ["2026-03-01T14:00:00Z", "2026-03-01T15:00:00Z"]


def test_a_clock_that_returns_to_shortly_before_the_latest_tick_repeats_nothing(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(HOUR), TASK, catch_up="all")
    clock.advance(3 * HOUR)
    assert len(ticks(store)) == 3
    set_wall(clock, "1970-01-01T00:30:00")
    assert len(ticks(store)) == 3
    set_wall(clock, "2026-03-01T13:30:00")
    clock.advance(HOUR)
    assert len(ticks(store)) == 3
    clock.advance(HOUR)
    clock.advance(HOUR)
    assert ticks(store)[3:] == ["2026-03-01T16:00:00Z"]


def test_a_clock_in_the_far_future_does_no_lasting_harm(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Cron("0 * * * *"), TASK)
    set_wall(clock, "2100-01-01T00:30:00")
    assert ticks(store) == ["2100-01-01T00:00:00Z"]
    set_wall(clock, "2026-03-01T12:30:00")
    assert len(ticks(store)) == 1
    clock.advance(HOUR)
    assert ticks(store)[1:] == ["2026-03-01T13:00:00Z"]
    # A board without a battery: the far future is remembered, and so is the present.
    set_wall(clock, "1970-01-01T00:10:00")
    assert len(ticks(store)) == 2
    set_wall(clock, "2026-03-01T14:30:00")
    assert ticks(store)[2:] == ["2026-03-01T14:00:00Z"]


def test_ticks_during_a_pause_are_not_made_up_for(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(HOUR), TASK, catch_up="all")
    store.pause_schedule("s")
    store.pause_schedule("s")
    clock.advance(5 * HOUR)
    assert ticks(store) == []
    (info,) = store.list_schedules()
    assert (info.paused, info.next_at, info.last_at) == (True, None, None)
    store.set_schedule("s", Every(HOUR), TASK, catch_up="all")
    store.set_schedule("s", Every(HOUR), NewTask("other"), catch_up="all")
    assert store.list_schedules()[0].paused
    store.resume_schedule("s")
    store.resume_schedule("s")
    assert store.list_schedules()[0].next_at == datetime(2026, 3, 1, 18, tzinfo=UTC)
    clock.advance(HOUR)
    assert ticks(store) == ["2026-03-01T18:00:00Z"]
    assert store.list_schedules()[0].last_at == datetime(2026, 3, 1, 18, tzinfo=UTC)


def test_the_same_schedule_set_again_changes_nothing_and_a_changed_one_counts_from_now(
    store: Any, clock: ManualClock
) -> None:
    store.set_schedule("s", Every(HOUR), TASK)
    clock.advance(2 * HOUR)
    store.set_schedule("s", Every(timedelta(hours=1)), TASK)
    assert ticks(store) == ["2026-03-01T14:00:00Z"]
    clock.advance(2 * HOUR)
    store.set_schedule("s", Every(HOUR), NewTask("other"))
    assert ticks(store) == ["2026-03-01T14:00:00Z"]
    clock.advance(HOUR)
    assert ticks(store)[1:] == ["2026-03-01T17:00:00Z"]
    assert store.get_task("s@2026-03-01T17:00:00Z", "other")


def test_an_instance_with_the_name_of_a_tick_is_left_alone(store: Any, clock: ManualClock) -> None:
    store.add_instance("s@2026-03-01T13:00:00Z", [NewTask("mine")])
    store.set_schedule("s", Every(HOUR), TASK)
    clock.advance(HOUR)
    ticks(store)
    assert [task.task_id for task in store.list_tasks()] == ["mine"]
    assert store.list_schedules()[0].last_at is None


def test_the_list_shows_all_that_was_set(store: Any) -> None:
    cron = Cron("0 9 * * MON#1", timezone="America/New_York")
    store.set_schedule("b", cron, TASK, catch_up="none")
    store.set_schedule("a", Every(90), NewTask("t", delay=5, tags=["x"], retry=RetryPolicy(2)), catch_up="all")
    first, second = store.list_schedules()
    assert (first.schedule_id, first.when, first.catch_up) == ("a", Every(90), "all")
    assert first.task == NewTask("t", delay=5, tags=["x"], retry=RetryPolicy(2))
    assert first.next_at == datetime(2026, 3, 1, 12, 1, 30, tzinfo=UTC)
    assert (second.when, second.task, second.catch_up, second.paused) == (cron, TASK, "none", False)
    assert second.next_at == datetime(2026, 3, 2, 14, tzinfo=UTC)


def test_a_removed_schedule_adds_no_more_ticks(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Every(HOUR), TASK)
    store.remove_schedule("s")
    clock.advance(HOUR)
    assert ticks(store) == []
    for call in (store.remove_schedule, store.pause_schedule, store.resume_schedule):
        with pytest.raises(NotFoundError, match="'s'"):
            call("s")


def test_schedules_set_in_a_transaction_that_is_rolled_back_are_not_there(store: Any, clock: ManualClock) -> None:
    store.set_schedule("kept", Every(DAY), TASK)

    def set_and_fail() -> None:
        with store.transaction() as tx:
            tx.set_schedule("s", Every(HOUR), TASK)
            tx.remove_schedule("kept")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        set_and_fail()
    clock.advance(HOUR)
    assert ticks(store) == []
    assert [info.schedule_id for info in store.list_schedules()] == ["kept"]
    with store.transaction() as tx:
        tx.set_schedule("s", Every(HOUR), TASK)
        tx.pause_schedule("s")
        tx.resume_schedule("s")
    clock.advance(HOUR)
    assert ticks(store) == ["2026-03-01T14:00:00Z"]


def test_a_reboot_and_weeks_without_power_count_as_missed_time(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s", Cron("0 3 * * *"), TASK)
    clock.reboot()
    clock.step_wall(21 * DAY)
    assert ticks(store) == ["2026-03-22T03:00:00Z"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", Every(1), TASK), "schedule_id"),
        (("é" * 115, Every(1), TASK), "230 bytes long; at most 228"),
        (("s", "0 3 * * *", TASK), "when"),
        (("s", Every(1), "t"), "task"),
        (("s", Every(1), NewTask("t", depends_on=["u"])), "depends_on"),
        (("s", Every(1), NewTask("t", available_at=datetime(2030, 1, 1, tzinfo=UTC))), "available_at"),
    ],
)
def test_wrong_arguments_are_refused(store: Any, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        store.set_schedule(*arguments)
    with pytest.raises(InvalidArgumentError, match="catch_up"):
        store.set_schedule("s", Every(1), TASK, catch_up="newest")
    assert store.list_schedules() == []


def test_the_longest_name_of_a_schedule_makes_a_valid_instance(store: Any, clock: ManualClock) -> None:
    store.set_schedule("s" * 228, Every(0.5), TASK)
    clock.advance(0.5)
    assert len(store.find_available_tasks("w", 9)) == 1
    with pytest.raises(AlreadyExistsError):
        store.add_instance("s" * 228 + "@2026-03-01T12:00:00.500000Z", [TASK])
