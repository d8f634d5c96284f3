"""The times of the ticks of ``Cron`` and ``Every``, and the errors of their constructors."""

from __future__ import annotations

import subprocess
import sys
import zoneinfo
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest
from cronsim import CronSim

from sqlite_claims import Cron, Every, InvalidArgumentError
from sqlite_claims.schedules import to_us
from sqlite_claims.sqlite import ticks
from sqlite_claims.testing import ManualClock

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"]
EXPRESSIONS = ["30 2 * * *", "0,30 1-3 * * *", "*/20 2 * * *", "15 */6 * * *", "45 23 L * *", "0 9 * * MON#1"]
START, END = datetime(2022, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)


def cronsim_list(expression: str, zone: str) -> list[int]:
    """Return the moments of cronsim's own list, each once."""
    start = START.astimezone(UTC if zone == "UTC" else zoneinfo.ZoneInfo(zone))
    moments = (to_us(moment) for moment in CronSim(expression, start))
    return sorted(set(takewhile(lambda moment: moment <= to_us(END), moments)))


def each_tick(when: Cron | Every) -> Iterator[int]:
    tick = when.next_after(to_us(START))
    while tick is not None and tick <= to_us(END):
        yield tick
        tick = when.next_after(tick)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_ticks_are_those_of_cronsim(expression: str, zone: str) -> None:
    expected = cronsim_list(expression, zone)
    cron = Cron(expression, timezone=zone)
    assert list(each_tick(cron)) == expected
    for index in range(7, len(expected), 97):
        found = cron.newest(after_us=to_us(START), until_us=expected[index] + 59_000_000, count=5)
        assert found == expected[max(0, index - 4) : index + 1]
        assert cron.next_after(expected[index] - 1) == expected[index]


def test_years_of_missed_minutes_are_jumped_over(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    tick = CronSim.tick

    def counted(self: CronSim, seconds: int = 1) -> None:
        nonlocal steps
        steps += 1
        tick(self, seconds)

    monkeypatch.setattr(CronSim, "tick", counted)
    cron = Cron("* * * * *", timezone="Europe/Berlin")
    until = to_us(END)
    assert cron.newest(after_us=to_us(START), until_us=until, count=1) == [until]
    assert steps < 1_500
    assert len(cron.newest(after_us=to_us(START), until_us=until, count=1_000)) == 1_000
    assert steps < 10_000


def test_an_interval_ticks_at_the_multiples_since_the_epoch() -> None:
    every = Every(timedelta(minutes=7))
    seven = 7 * 60_000_000
    assert every.next_after(0) == seven
    assert every.next_after(seven - 1) == seven
    assert every.next_after(-1) == 0
    assert list(every.newest(after_us=0, until_us=10 * seven + 5, count=3)) == [8 * seven, 9 * seven, 10 * seven]
    assert list(every.newest(after_us=9 * seven, until_us=10 * seven, count=3)) == [10 * seven]
    assert list(every.newest(after_us=10 * seven, until_us=3 * seven, count=3)) == []
    assert Every(10**11).next_after(to_us(END)) == 10**17
    assert Every(10**11).next_after(10**17) == 2 * 10**17
    assert Every(10**11).next_after(2 * 10**17) is None


def test_after_the_last_year_there_is_no_tick() -> None:
    assert Cron("0 0 1 1 *").next_after(to_us(datetime(9999, 6, 1, tzinfo=UTC))) is None


def test_the_records_are_equal_by_value_and_frozen() -> None:
    assert Every(60) == Every(60.0) == Every(timedelta(minutes=1)) != Every(61)
    assert Cron("0  3 * * *") == Cron("0 3 * * *", timezone="UTC") != Cron("0 3 * * *", timezone="Europe/Berlin")
    assert len({Every(60), Every(60.0), Cron("0 3 * * *"), Cron("0 3 * * *")}) == 2
    every: Any = Every(60)
    with pytest.raises(FrozenInstanceError):
        every.interval = 5


WRONG = """
60 * * * *; * 24 * * *; * * 0 * *; * * * 13 *; a * * * *; */0 * * * *; 1,,2 * * * *; 0 3 * *; 0 0 3 * * *; @daily;
0 0 30 2 *; 0 0 31 2,4,6 *; 0 0 * 2 MON#6
"""


@pytest.mark.parametrize("expression", ["", "9" * 300, *WRONG.split(";")])
def test_a_wrong_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidArgumentError, match="expression"):
        Cron(expression)


@pytest.mark.parametrize("expression", ["0 0 29 2 *", "0 0 */28 2 MON#5", "0 0 L * *", "0 0 LW * *", "0 0 * * 5L"])
def test_a_rare_date_is_accepted(expression: str) -> None:
    assert Cron(expression).next_after(to_us(END)) is not None


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "Europe", "../UTC", "/etc/passwd", "é", "a\x00b", 5])
def test_an_unknown_zone_is_refused(zone: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="timezone"):
        Cron("0 3 * * *", timezone=zone)


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), 1e-9, 10**12, "5", None, True])
def test_a_wrong_interval_is_refused(interval: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="interval"):
        Every(interval)


def test_without_zone_data_the_message_names_the_package() -> None:
    program = (
        "import sys, zoneinfo; sys.modules['tzdata'] = None; zoneinfo.reset_tzpath(())\n"
        "from sqlite_claims import Cron\n"
        "print(Cron('0 3 * * *').next_after(0))\n"
        "try: Cron('0 3 * * *', timezone='Europe/Berlin')\n"
        "except ValueError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.startswith("10800000000\n")
    assert "install the tzdata package" in out


def test_cronsim_is_imported_only_for_cron_expressions() -> None:
    program = (
        "import sys, sqlite_claims as s\n"
        "store = s.InMemoryClaimStore(); store.set_schedule('s', s.Every(5), s.NewTask('t'))\n"
        "print('cronsim' in sys.modules, 'zoneinfo' in sys.modules)\n"
        "s.Cron('0 3 * * *'); print('cronsim' in sys.modules, 'zoneinfo' in sys.modules)\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "False False\nTrue False\n"


def test_the_number_of_marks_is_bounded() -> None:
    clock, marks = ManualClock(), [10**15]
    for step in range(1, 20):
        marks = ticks.look(
            Every(1), "latest", marks, wall=10**15 - step * ticks.DAY_US, stepped_us=-ticks.DAY_US, limit=5
        ).marks
    assert len(marks) == 8
    assert marks[-1] == 10**15 - 19 * ticks.DAY_US
    assert clock.wall_us() > marks[-1]
