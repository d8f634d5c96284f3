"""Text on the command line: escapes, numbers, durations."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rich.console import Console

from sqlite_claims.cli.instances import INSTANCE_COLUMNS
from sqlite_claims.cli.options import parse_duration
from sqlite_claims.cli.text import (
    clean,
    clean_bytes,
    clean_lines,
    format_counts,
    format_duration,
    format_time,
    make_table,
)
from sqlite_claims.model import TaskState


def test_characters_that_could_steer_a_terminal_are_escaped() -> None:
    assert clean("a\x1b[2J\r\n\x9b\u202eé€") == "a\\x1b[2J\\r\\n\\x9b\\u202eé€"
    assert clean_bytes(b"\xff\x00ok") == "\\xff\\x00ok"
    assert clean_lines("a\nb\x07\n") == "a\n    b\\x07"


def test_long_text_is_cut() -> None:
    assert clean("x" * 100, width=5) == "xx..."
    assert clean_bytes(b"x" * 100_000, width=5) == "xx..."
    assert clean("12345", width=5) == "12345"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0", 0), ("250ms", 0.25), ("1.5h", 5400), ("7d", 604800), ("2 W", 1209600), ("10m", 600), ("3s", 3)],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1y", "1h30m", "nan", "inf", "1e3"])
def test_a_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 m 0 s"), (3599.6, "1 h 0 m"), (90_000, "1 d 1 h"), (7384, "2 h 3 m")],
)
def test_durations_are_shown_in_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_moment_is_shown_in_the_zone_of_the_machine() -> None:
    at = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert format_time(at) == at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    assert format_time(None) == ""


def test_counts_of_zero_are_left_out() -> None:
    counts = dict.fromkeys(TaskState, 0)
    assert format_counts(counts) == "no tasks"
    assert format_counts({**counts, TaskState.READY: 2, TaskState.FAILED: 1}) == "ready: 2  failed: 1"


ROWS = [["map-9305498a7845ce44a77d0865ab96daf9", "in_progress", "", "", "1", "", "1000000", "", "", ""]]


def test_on_a_narrow_terminal_numbers_stay_whole_and_empty_columns_are_left_out() -> None:
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(make_table(INSTANCE_COLUMNS, ROWS, is_terminal=True))
    header, row = (line.split() for line in captured.get().splitlines())
    assert header == ["INSTANCE", "STATE", "READY", "COMPLETED"]
    assert row == ["map-9305498a7845ce44a77d0865ab96daf9", "in_progress", "1", "1000000"]
    console = Console(width=44, color_system=None)
    with console.capture() as captured:
        console.print(make_table(INSTANCE_COLUMNS, ROWS, is_terminal=True))
    assert captured.get().splitlines()[1].split() == ["map-9305498a…", "in_progress", "1", "1000000"]


def test_without_a_terminal_all_columns_are_shown() -> None:
    console = Console(width=10_000, color_system=None)
    with console.capture() as captured:
        console.print(make_table(INSTANCE_COLUMNS, ROWS, is_terminal=False))
    assert captured.get().splitlines()[0].split() == [column.title for column in INSTANCE_COLUMNS]
