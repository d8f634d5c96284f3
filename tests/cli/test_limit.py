"""``sqlite-claims limit``, and the option ``--limit`` of commands that add tasks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sqlite_claims import InvalidArgumentError, LimitInfo, SqliteClaimStore
from sqlite_claims.cli.map.main import _check_names
from sqlite_claims.cli.map.plan import Plan
from sqlite_claims.cli.map.template import Template

from .conftest import Cli

PLAN = Plan("i", Template(("true",)), 1)


def test_a_limit_can_be_set_listed_and_removed(cli: Cli) -> None:
    assert cli.raw("limit", "set", cli.db, "disk", "--concurrency", "2").status == 0
    assert cli.raw("limit", "set", cli.db, "api", "--rate", "100/1m").status == 0
    assert cli.raw("limit", "set", cli.db, "mail", "--rate", "10/s", "--concurrency", "1").status == 0
    with SqliteClaimStore(cli.db) as store:
        assert store.list_limits() == [
            LimitInfo("api", None, (100, 60.0), 0, 0, 0),
            LimitInfo("disk", 2, None, 0, 0, 0),
            LimitInfo("mail", 1, (10, 1.0), 0, 0, 0),
        ]
    entries = cli.raw("limit", "ls", cli.db, "--json").json
    assert entries[0]["rate"] == [100, 60.0]
    assert "100 in 1 m" in cli.raw("limit", "ls", cli.db).out
    assert cli.raw("limit", "rm", cli.db, "disk").status == 0
    assert [entry["name"] for entry in cli.raw("limit", "ls", cli.db, "--json").json] == ["api", "mail"]


@pytest.mark.parametrize(
    "arguments",
    [["a"], ["a:b", "--concurrency", "1"], ["a", "--concurrency", "0"], ["a", "--rate", "5"], ["a", "--rate", "x/s"],
     ["a", "--rate", "1/0s"], ["a", "--concurrency", "10001"]],
)  # fmt: skip
def test_bad_values_end_with_status_2(cli: Cli, arguments: list[str]) -> None:
    result = cli.raw("limit", "set", cli.db, *arguments)
    assert result.status == 2
    assert result.err.startswith(("Usage", "Error", "sqlite-claims"))


def test_added_tasks_count_against_a_limit(cli: Cli) -> None:
    lines = cli.file("lines", "1\n2\n")
    assert cli.raw("add", cli.db, "i", lines, "--limit", "disk:sda").status == 0
    assert cli.raw("add", cli.db, "i", lines, "--limit", ":x").status == 2
    with pytest.raises(InvalidArgumentError, match=r"^--limit must name"):
        _check_names(replace(PLAN, limit=":x"))
    with SqliteClaimStore(cli.db) as store:
        assert sorted(str(task.limit) for task in store.list_tasks()) == ["disk:sda", "disk:sda"]
    listed = cli.raw("ls", cli.db, "i", "--json").out.splitlines()
    assert [json.loads(line)["limit"] for line in listed] == ["disk:sda", "disk:sda"]
