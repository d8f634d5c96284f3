"""Checks of arguments: the normalized values, and the limits."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, TaskState, validate

NAN, INF = float("nan"), float("inf")


class Text(str):
    """A subclass of ``str``. Programs may pass an object of such a class as a name."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Name(StrEnum):
    ONE = "one"


def test_a_name_is_a_plain_str_of_at_most_256_bytes() -> None:
    assert validate.name("a", "x" * 256) == "x" * 256
    assert validate.name("a", "é" * 128) == "é" * 128
    assert validate.name("a", "", empty=True) == ""
    for given, plain in ((Text("name"), "name"), (Name.ONE, "one")):
        checked = validate.name("a", given)
        assert type(checked) is str
        assert checked == plain


@pytest.mark.parametrize(
    "value",
    ["", "x" * 257, "é" * 129, "\U0001f600" * 65, "a\0b", "\0", "\ud800", b"x", None, 3, True, ["x"]],
    ids=ascii,
)
def test_a_value_that_is_no_name_is_refused_with_the_argument_named(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="worker_id"):
        validate.name("worker_id", value)


def test_names_come_sorted_and_once_each() -> None:
    assert validate.names("tags", ["b", "a", "b"]) == ("a", "b")
    assert validate.names("tags", (tag for tag in "ba")) == ("a", "b")
    assert validate.names("tags", {}) == ()
    for value in ("ab", b"ab", 3, None, ["a", 3], ["a", ""]):
        with pytest.raises(InvalidArgumentError, match="tags"):
            validate.names("tags", value)


def test_kinds_tell_all_from_none() -> None:
    assert validate.kinds(None) is None
    assert validate.kinds([]) == frozenset()
    assert validate.kinds(["", "a"]) == frozenset(["", "a"])
    bad: list[Any] = ["a", ["*"], [3], 3]
    for value in bad:
        with pytest.raises(InvalidArgumentError, match="kinds"):
            validate.kinds(value)


@pytest.mark.parametrize(
    ("value", "us"),
    [
        (0, 0),
        (1, 1_000_000),
        (0.5, 500_000),
        (1e-6, 1),
        (4e-7, 0),
        (timedelta(seconds=1, microseconds=1), 1_000_001),
        (timedelta(days=1), 86_400_000_000),
        (-0.0, 0),
    ],
)
def test_a_duration_is_whole_microseconds(value: Any, us: int) -> None:
    assert validate.duration_us("ttl", value) == us


@pytest.mark.parametrize(
    "value",
    [-1, -1e-9, NAN, INF, -INF, 1e300, 10**400, timedelta(microseconds=-1), timedelta.max, True, None, "1", Decimal(1)],
    ids=repr,
)
def test_a_value_that_is_no_duration_is_refused_with_the_argument_named(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="ttl"):
        validate.duration_us("ttl", value)


def test_a_duration_may_reach_the_last_date_there_is_and_not_past_it() -> None:
    now = 1_700_000_000_000_000
    longest = (validate.WALL_US_MAX - now) // 1_000_000
    assert validate.duration_us("ttl", longest, wall_us=now) == longest * 1_000_000
    with pytest.raises(InvalidArgumentError, match="9999"):
        validate.duration_us("ttl", longest + 1, wall_us=now)


def test_a_number_out_of_bounds_is_told_both_of_them() -> None:
    with pytest.raises(InvalidArgumentError, match=r"multiplier must be a finite number from 0 to 100, not 1e\+300"):
        validate.number("multiplier", 1e300, 0, 100)
    with pytest.raises(InvalidArgumentError, match="of at least 0, not -1"):
        validate.number("multiplier", -1, 0)


def test_bytes_like_is_copied_and_a_str_is_not_bytes_like() -> None:
    array = bytearray(b"data")
    checked = validate.data("output", array)
    array[0] = 0
    assert (type(checked), checked) == (bytes, b"data")
    assert validate.data("output", memoryview(b"abcdef")[::2]) == b"ace"
    for value in ("text", None, 3, [1, 2]):
        with pytest.raises(InvalidArgumentError, match="output"):
            validate.data("output", value)


def test_text_that_is_not_utf8_comes_back_escaped() -> None:
    assert validate.text("error", "é\0") == "é\0"
    assert validate.text("error", "a\ud800b") == "a\\ud800b"
    for value in (b"bytes", None, ValueError("x")):
        with pytest.raises(InvalidArgumentError, match="error"):
            validate.text("error", value)


def test_limits_beyond_what_sqlite_counts_are_as_good_as_that() -> None:
    assert validate.limit(0) == 0
    assert validate.limit(2**31 - 1) == validate.limit(2**31) == validate.limit(10**100) == 2**31 - 1
    for value in (-1, True, 1.0, None, "1"):
        with pytest.raises(InvalidArgumentError, match="limit"):
            validate.limit(value)


def test_states_may_be_given_by_their_values() -> None:
    assert validate.states("states", ["ready", TaskState.CLAIMED], TaskState) == frozenset(
        [TaskState.READY, TaskState.CLAIMED]
    )
    assert validate.states("states", None, TaskState) is None
    bad: list[Any] = ["ready", ["no such state"], 3, [[]]]
    for value in bad:
        with pytest.raises(InvalidArgumentError, match="states"):
            validate.states("states", value, TaskState)


def test_an_error_shows_the_given_value_shortened() -> None:
    assert validate.shown("x" * 10_000).endswith("...")
    assert len(validate.shown("x" * 10_000)) == 80
