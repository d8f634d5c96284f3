"""``sqlite-claims schedule``, and the report of late ticks in ``status`` and ``top``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sqlite_claims import Cron, Every, NewTask, SqliteClaimStore
from sqlite_claims.cli.top.sampler import Sampler
from sqlite_claims.testing import ManualClock

from .conftest import Cli

CRON = ["--cron", "30 2 * * *", "--timezone", "Europe/Berlin"]


def test_a_schedule_can_be_set_listed_paused_resumed_and_removed(cli: Cli) -> None:
    assert cli.raw("schedule", "set", cli.db, "report", *CRON, "--kind", "k", "--input", "x", "--tag", "a").status == 0
    assert cli.raw("schedule", "set", cli.db, "poll", "--every", "5m", "--catch-up", "none").status == 0
    with SqliteClaimStore(cli.db) as store:
        poll, report = store.list_schedules()
        assert (poll.when, poll.catch_up, poll.task) == (Every(300), "none", NewTask("task"))
        assert report.when == Cron("30 2 * * *", timezone="Europe/Berlin")
        assert report.task == NewTask("task", b"x", kind="k", tags=["a"])
    assert cli.raw("schedule", "pause", cli.db, "poll").status == 0
    poll_entry, report_entry = cli.raw("schedule", "ls", cli.db, "--json").json
    assert (poll_entry["paused"], poll_entry["next_at"], poll_entry["every"]) == (True, None, 300)
    assert (report_entry["cron"], report_entry["timezone"]) == ("30 2 * * *", "Europe/Berlin")
    table = cli.raw("schedule", "ls", cli.db).out
    assert "30 2 * * * Europe/Berlin" in table
    assert "paused" in table
    assert cli.raw("schedule", "resume", cli.db, "poll").status == 0
    assert cli.raw("schedule", "rm", cli.db, "poll").status == 0
    assert [entry["schedule_id"] for entry in cli.raw("schedule", "ls", cli.db, "--json").json] == ["report"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --cron or --every"),
        (["--every", "5m", "--cron", "* * * * *"], "either --cron or --every"),
        (["--every", "5m", "--timezone", "UTC"], "--timezone needs --cron"),
        (["--every", "soon"], "not a duration"),
        (["--every", "0"], "interval must be"),
        (["--cron", "61 * * * *"], "Bad minute"),
        (["--cron", "0 0 30 2 *"], "expression"),
        (["--cron", "* * * * *", "--timezone", "Mars/Olympus"], "timezone"),
    ],
)
def test_bad_values_end_with_status_2(cli: Cli, arguments: list[str], message: str) -> None:
    result = cli.raw("schedule", "set", cli.db, "s", *arguments)
    assert result.status == 2
    assert message in result.err
    assert not cli.db.exists()


def test_an_unknown_schedule_is_an_error(cli: Cli) -> None:
    SqliteClaimStore(cli.db).close()
    for verb in ("rm", "pause", "resume"):
        result = cli.raw("schedule", verb, cli.db, "s")
        assert result.status != 0
        assert "no schedule 's'" in result.err


def test_status_ls_and_top_report_a_tick_that_is_more_than_a_minute_late(cli: Cli) -> None:
    clock = ManualClock(wall=(datetime.now(UTC) - timedelta(hours=5)).timestamp())
    with SqliteClaimStore(cli.db, clock=clock) as store:
        store.set_schedule("s", Every(3600), NewTask("t"))
    for arguments in (["status", cli.db], ["schedule", "ls", cli.db]):
        assert "schedule 's': the tick of" in cli.raw(*arguments).out
    with SqliteClaimStore(cli.db, read_only=True) as store:
        assert any("schedule 's'" in warning for warning in Sampler(store).take().warnings)
    late: Any = cli.raw("status", cli.db, "--json").json["schedules"]
    assert [schedule["schedule_id"] for schedule in late] == ["s"]
    with SqliteClaimStore(cli.db) as store:
        store.find_available_tasks("w", 1)
    assert "the tick of" not in cli.raw("status", cli.db).out
