"""Schedules in a file: copies, several stores on one file, time zones that a machine lacks, and bounds."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import Cron, Every, InvalidArgumentError, NewTask, SqliteClaimStore, restore
from sqlite_claims import schedules as records
from sqlite_claims.sqlite.operations import schedules
from sqlite_claims.testing import ManualClock

Open = Callable[..., SqliteClaimStore]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TASK = NewTask("t")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())


@pytest.fixture
def open_store(clock: ManualClock) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_store(path: Path, **options: Any) -> SqliteClaimStore:
            return stack.enter_context(SqliteClaimStore(path, durability="process", clock=clock, **options))

        yield open_store


def ticks(store: SqliteClaimStore) -> list[str]:
    store.find_available_tasks("w", 1)
    return [instance.instance_id for instance in store.list_instances()]


def restored(path: Path) -> Path:
    target = path.with_name("restored.db")
    restore(path, target)
    return target


def copied(path: Path) -> Path:
    return Path(shutil.copy(path, path.with_name("copy.db")))


@pytest.mark.parametrize("make", [restored, copied])
def test_in_a_copy_ticks_count_from_the_first_opening(
    tmp_path: Path, open_store: Open, clock: ManualClock, make: Callable[[Path], Path]
) -> None:
    with open_store(tmp_path / "jobs.db") as store:
        store.set_schedule("s", Every(HOUR), TASK, catch_up="all")
        store.set_schedule("paused", Every(HOUR), TASK, catch_up="all")
        store.pause_schedule("paused")
        store.backup(tmp_path / "backup.db")
    clock.advance(DAY)
    copy = open_store(make(tmp_path / "backup.db"))
    assert ticks(copy) == []
    assert [schedule.paused for schedule in copy.list_schedules()] == [True, False]
    clock.advance(HOUR)
    assert ticks(copy) == ["s@2026-03-02T13:00:00Z"]
    assert copy.check() == []


def test_ticks_are_computed_without_a_transaction_and_only_one_process_adds_them(
    tmp_path: Path, open_store: Open, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = open_store(tmp_path / "jobs.db"), open_store(tmp_path / "jobs.db")
    first.set_schedule("s", Every(HOUR), TASK)
    clock.advance(HOUR)
    newest = Every.newest

    def meanwhile(self: Every, **arguments: Any) -> Sequence[int]:
        assert not first._db.connection.in_transaction
        monkeypatch.setattr(Every, "newest", newest)
        assert ticks(second) == ["s@2026-03-01T13:00:00Z"]
        second.remove_schedule("s")
        return newest(self, **arguments)

    monkeypatch.setattr(Every, "newest", meanwhile)
    assert ticks(first) == ["s@2026-03-01T13:00:00Z"]
    assert first.list_schedules() == []


def test_a_call_adds_a_bounded_number_of_ticks(tmp_path: Path, open_store: Open, clock: ManualClock) -> None:
    store = open_store(tmp_path / "jobs.db")
    store.set_schedule("s", Every(1), TASK, catch_up="all")
    clock.advance(250)
    for expected in (100, 200, 250, 250):
        assert len(ticks(store)) == expected


def test_a_zone_without_data_on_this_machine_leaves_other_schedules_alone(
    tmp_path: Path,
    open_store: Open,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = open_store(tmp_path / "jobs.db")
    store.set_schedule("there", Cron("0 3 * * *", timezone="Europe/Berlin"), TASK)
    store.set_schedule("utc", Cron("0 3 * * *"), TASK)
    zone = records._zone

    def missing(name: str) -> Any:
        if name == "UTC":
            return zone(name)
        raise InvalidArgumentError("install the tzdata package")

    monkeypatch.setattr(records, "_zone", missing)
    clock.advance(DAY)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert ticks(store) == ["utc@2026-03-02T03:00:00Z"]
    assert [record.getMessage().partition("schedule ")[2] for record in caplog.records] == [
        "'there': install the tzdata package"
    ]
    assert not store.wait_for_tasks(0, kinds=["other"])
    assert [schedule.schedule_id for schedule in store.list_schedules()] == ["there", "utc"]
    monkeypatch.setattr(records, "_zone", zone)
    clock.advance(2)
    assert ticks(store)[1:] == ["there@2026-03-02T02:00:00Z"]


def test_a_read_only_store_adds_no_ticks(tmp_path: Path, open_store: Open, clock: ManualClock) -> None:
    open_store(tmp_path / "jobs.db").set_schedule("s", Every(HOUR), TASK)
    clock.advance(HOUR)
    assert ticks(open_store(tmp_path / "jobs.db", read_only=True)) == []


def test_a_store_without_schedules_runs_no_statement_of_schedules(
    tmp_path: Path, open_store: Open, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "jobs.db")
    monkeypatch.setattr(schedules, "due_schedules", None)
    store.add_instance("i", [NewTask("a", available_at=datetime(2026, 3, 1, 13, tzinfo=UTC))])
    clock.advance(DAY)
    assert store.claim_available_tasks("w", 1)
