"""The options that few tasks have: unique key, metadata, timeout and expiry."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, NewTask

LATER = datetime(2100, 1, 1, tzinfo=timezone(timedelta(hours=2)))


def test_all_options_of_a_task_are_shown(store: Any) -> None:
    metadata = {"trace": "1-2", "größe": "\0"}
    task = NewTask("t", unique_key="key", metadata=metadata, timeout=timedelta(minutes=1), expires_at=LATER)
    metadata["trace"] = "changed"
    store.add_instance("i", [task, NewTask("plain", priority=5)])
    found = store.get_task("i", "t")
    assert (found.unique_key, found.metadata) == ("key", {"trace": "1-2", "größe": "\0"})
    assert (found.timeout, type(found.timeout), found.expires_at) == (60.0, float, LATER)
    assert found.expires_at.tzinfo is UTC
    plain = store.get_task("i", "plain")
    assert (plain.unique_key, plain.metadata, plain.timeout, plain.expires_at) == (None, {}, None, None)
    assert [info.unique_key for info in store.list_tasks("i")] == [None, "key"]


def test_a_found_and_a_claimed_task_have_metadata_and_timeout(store: Any) -> None:
    store.add_instance("i", [NewTask("t", metadata={"a": "b"}, timeout=2), NewTask("plain", priority=5)])
    for tasks in (
        store.find_available_tasks("w", 2),
        [each.task for each in store.claim_available_tasks("w", 2, 30)],
    ):
        assert [(task.metadata, task.timeout) for task in tasks] == [({"a": "b"}, 2.0), ({}, None)]


def test_empty_metadata_is_no_metadata(store: Any) -> None:
    store.add_instance("i", [NewTask("t", metadata={})])
    assert store.get_task("i", "t").metadata == {}
    assert NewTask("t", metadata={}) == NewTask("t")


def test_records_with_metadata_are_hashable(store: Any) -> None:
    task = NewTask("t", metadata={"a": "b"})
    store.add_instance("i", [task])
    (claimed,) = store.claim_available_tasks("w", 1, 30)
    assert len({task, NewTask("t", metadata={"a": "c"})}) == 2
    assert hash(task) == hash(NewTask("t", metadata={"a": "c"}))
    assert hash(claimed.task) == hash(claimed.task)
    assert isinstance(hash(store.get_task("i", "t")), int)


def test_metadata_has_at_most_4_kib_as_json(store: Any) -> None:
    overhead = len('{"key":""}')
    longest = {"key": "x" * (4096 - overhead)}
    store.add_instance("i", [NewTask("t", metadata=longest)])
    assert store.get_task("i", "t").metadata == longest
    with pytest.raises(InvalidArgumentError, match=r"metadata is 4,097 bytes long as JSON; at most 4,096"):
        NewTask("t", metadata={"key": "x" * (4097 - overhead)})
    with pytest.raises(InvalidArgumentError, match="metadata"):
        NewTask("t", metadata={"key": "é" * 2048})


@pytest.mark.parametrize("bad", [b"k", 1, "", "x" * 257, "a\0b", "\ud800"])
def test_a_bad_unique_key_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="unique_key"):
        NewTask("t", unique_key=bad)


@pytest.mark.parametrize("bad", ["ab", [("a", "b")], {"a": 1}, {1: "a"}, {"a": None}, {"\ud800": "a"}, {"a": "\ud800"}])
def test_bad_metadata_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="metadata"):
        NewTask("t", metadata=bad)


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, True, "1", timedelta(0), timedelta(days=-1), 1e-9])
def test_a_bad_timeout_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="timeout"):
        NewTask("t", timeout=bad)


@pytest.mark.parametrize("bad", [1.0, "2100", LATER.replace(tzinfo=None), datetime.min.replace(tzinfo=LATER.tzinfo)])
def test_a_bad_expires_at_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="expires_at"):
        NewTask("t", expires_at=bad)
