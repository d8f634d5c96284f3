"""Several processes add the ticks of schedules, each tick once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import zoneinfo
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import pytest
from cronsim import CronSim

from sqlite_claims import Cron, Every, NewTask, SqliteClaimStore
from sqlite_claims.schedules import tick_name, to_us
from sqlite_claims.testing import MappedClock

START = datetime(2020, 1, 1, 12, tzinfo=UTC)
CRONS = [
    Cron("30 2 * * *", timezone="Europe/Berlin"),
    Cron("15 1 * * *", timezone="America/New_York"),
    Cron("*/30 2 * * SUN", timezone="Australia/Lord_Howe"),
    Cron("0 */8 * * *", timezone="Africa/Cairo"),
    Cron("45 23 L * *", timezone="Asia/Kathmandu"),
]
# Looks for work until the clock has reached the end.
LOOKING = """
import sys
from sqlite_claims import SqliteClaimStore
from sqlite_claims.testing import MappedClock
path, clock_path, end = sys.argv[1:]
clock = MappedClock(clock_path)
with SqliteClaimStore(path, durability="process", clock=clock) as store:
    while clock.wall_us() < int(end):
        store.find_available_tasks("w", 1)
"""


def cronsim_names(schedule_id: str, cron: Cron, end: datetime) -> set[str]:
    ticks = CronSim(cron.expression, START.astimezone(zoneinfo.ZoneInfo(cron.timezone)))
    return {tick_name(schedule_id, to_us(tick)) for tick in takewhile(lambda tick: tick <= end, ticks)}


@pytest.mark.parametrize("years", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_four_processes_add_each_tick_of_years_once(tmp_path: Path, years: int) -> None:
    end = START + timedelta(days=365.25 * years)
    clock = MappedClock(tmp_path / "clock", wall=START.timestamp())
    arguments = [LOOKING, str(tmp_path / "jobs.db"), str(tmp_path / "clock"), str(to_us(end))]
    choices = random.Random(years)
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process", clock=clock) as store, ExitStack() as stack:
        for number, cron in enumerate(CRONS):
            store.set_schedule(f"s{number}", cron, NewTask("t"), catch_up="all")
        looking = [stack.enter_context(subprocess.Popen([sys.executable, "-c", *arguments])) for _ in range(4)]
        for process in looking:  # without these calls, a failure of this test would leave the processes running
            stack.callback(process.kill)
        while (now := datetime.fromtimestamp(clock.wall_us() / 1e6, UTC)) < end:
            clock.advance(min(end - now, timedelta(hours=choices.randint(1, 200))))
            while clock.wall_us() < to_us(end) and min(
                schedule.next_at or START for schedule in store.list_schedules()
            ) <= datetime.fromtimestamp(clock.wall_us() / 1e6, UTC):
                assert all(process.poll() is None for process in looking)
                time.sleep(0)
        for process in looking:
            assert process.wait() == 0
        store.find_available_tasks("w", 1)
        names = [instance.instance_id for instance in store.list_instances()]
        expected = [cronsim_names(f"s{number}", cron, end) for number, cron in enumerate(CRONS)]
        assert set(names) == set().union(*expected)
        assert len(names) == sum(map(len, expected))
        assert store.check() == []


def test_a_sleeper_wakes_for_the_next_tick(tmp_path: Path) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.set_schedule("s", Every(0.05), NewTask("t"))
        for _ in range(3):
            assert store.wait_for_tasks(60)
            assert store.claim_available_tasks("w", 100, None)


def test_a_mapped_clock_is_the_same_in_all_processes(tmp_path: Path) -> None:
    clock = MappedClock(tmp_path / "clock", wall=1_000.0)
    program = (
        "import sys; from sqlite_claims.testing import MappedClock; clock = MappedClock(sys.argv[1])\n"
        "print(clock.wall_us(), clock.boot_us() - clock.awake_us(), clock.boot_id()); clock.step_wall(7)"
    )
    clock.sleep(5)
    clock.reboot()
    out = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "clock"], capture_output=True, text=True, check=True
    )
    assert out.stdout == "1005000000 0 boot-2\n"
    assert clock.wall_us() == 1_012_000_000
