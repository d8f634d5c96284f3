"""Records: a record's values are checked on creation and cannot be changed later, and the remaining time of a claim is
computed from the lease clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sqlite_claims import (
    AvailableTask,
    ClaimedTask,
    InstanceInfo,
    InstanceState,
    InvalidArgumentError,
    NewTask,
    RetryPolicy,
    StoreStats,
    TaskClaim,
    TaskInfo,
    TaskState,
    WorkerInfo,
)
from sqlite_claims.testing import ManualClock

RECORDS = [
    TaskClaim, AvailableTask, ClaimedTask, NewTask, RetryPolicy, TaskInfo, InstanceInfo, WorkerInfo, StoreStats,
]  # fmt: skip
LONG = "x" * 257
BAD_NAMES = [None, 5, b"name", ["name"], "", "a\0b", "\ud800", LONG, "ä" * 129]
BAD_DURATIONS = [-1, -0.001, math.nan, math.inf, -math.inf, 1e300, 10**30, True, "5", timedelta(seconds=-1), 1 + 0j]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_records_are_frozen_slotted_dataclasses(record: type) -> None:
    assert is_dataclass(record)
    assert record.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__dict__" not in dir(record)


def test_a_record_does_not_change() -> None:
    task = NewTask("t")
    with pytest.raises(FrozenInstanceError):
        task.priority = 1  # type: ignore[misc]


def test_states_are_their_lower_case_names() -> None:
    assert [state.value for state in TaskState] == [
        "blocked", "scheduled", "ready", "claimed", "completed", "failed", "cancelled",
    ]  # fmt: skip
    assert [state.value for state in InstanceState] == ["in_progress", "paused", "completed", "failed", "cancelled"]
    assert str(TaskState.READY) == "ready"
    assert TaskState("ready") is TaskState.READY


def test_public_fields_come_in_the_order_that_callers_may_rely_on() -> None:
    def names(record: Any) -> list[str]:
        return [field.name for field in fields(record) if not field.name.startswith("_")]

    assert names(TaskClaim) == ["instance_id", "task_id", "worker_id", "claimed_at", "expires_at", "token"]
    assert names(AvailableTask) == [
        "instance_id", "task_id", "input", "workflow_definition_hash", "kind", "priority", "tags", "attempt",
        "metadata", "timeout",
    ]  # fmt: skip
    assert names(ClaimedTask) == ["task", "claim"]
    assert names(RetryPolicy) == ["initial_delay", "multiplier", "max_delay", "jitter"]


# -- NewTask


def test_a_new_task_keeps_tags_sorted_each_once_and_bytes_as_bytes() -> None:
    given: Any = bytearray(b"in")
    task = NewTask("t", given, tags={"b", "a"}, depends_on=iter(["z", "y", "z"]))
    assert (task.tags, task.depends_on, task.input) == (("a", "b"), ("y", "z"), b"in")
    assert type(task.input) is bytes


BAD_TASKS: list[tuple[str, Any]] = [
    *(("task_id", bad) for bad in BAD_NAMES),
    *(("kind", bad) for bad in BAD_NAMES if bad is not None),
    ("kind", "*"),
    *(("input", bad) for bad in ("text", 5, [1], 1.5)),
    *((argument, bad) for argument in ("tags", "depends_on") for bad in ("text", b"bytes", 5, None)),
    *((argument, [bad]) for argument in ("tags", "depends_on") for bad in BAD_NAMES),
    *(("priority", bad) for bad in (0, 6, -1, 2**70, 1.0, "1", True, None)),
    *((argument, bad) for argument in ("max_attempts", "max_lost") for bad in (0, -1, 2**31, 1.0, "1", True, None)),
    *(("delay", bad) for bad in BAD_DURATIONS),
    *(("available_at", bad) for bad in ("2030-01-01", 5, datetime(2030, 1, 1), datetime(2030, 1, 1).date())),  # noqa: DTZ001
    *(("retry", bad) for bad in (None, 5, {"jitter": 0})),
]


@pytest.mark.parametrize(("argument", "bad"), BAD_TASKS, ids=ascii)
def test_a_bad_task_is_refused_when_it_is_made_by_the_arguments_name(argument: str, bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=argument):
        NewTask(**{"task_id": "t", argument: bad})


def test_a_refused_value_is_shown_and_kept_short() -> None:
    with pytest.raises(InvalidArgumentError, match="'seven'"):
        NewTask("t", priority="seven")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError) as caught:
        NewTask("t", priority="x" * 10_000)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


def test_a_task_has_a_delay_or_a_time_of_day_and_not_both() -> None:
    with pytest.raises(InvalidArgumentError, match="delay"):
        NewTask("t", delay=5, available_at=datetime.now(UTC))


def test_an_error_of_ours_about_an_argument_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="task_id"):
        NewTask("")


# -- RetryPolicy


@pytest.mark.parametrize("argument", ["initial_delay", "max_delay"])
@pytest.mark.parametrize("bad", [*BAD_DURATIONS, None], ids=ascii)
def test_a_policys_bad_duration_is_refused(argument: str, bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=argument):
        RetryPolicy(**{argument: bad})


@pytest.mark.parametrize(
    ("argument", "bad"),
    [
        *(("multiplier", bad) for bad in (-1, math.nan, math.inf, True, "2", None, 10**400)),
        *(("jitter", bad) for bad in (-0.1, 1.1, math.nan, math.inf, True, "0", None)),
    ],
    ids=ascii,
)
def test_a_policys_bad_number_is_refused(argument: str, bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=argument):
        RetryPolicy(**{argument: bad})


def test_policies_with_the_same_numbers_are_equal() -> None:
    assert RetryPolicy(initial_delay=1) == RetryPolicy(initial_delay=1.0) == RetryPolicy()
    assert hash(RetryPolicy(initial_delay=1)) == hash(RetryPolicy())


# -- TaskClaim


def test_a_claim_made_by_hand_judges_by_the_wall_clock_of_its_making() -> None:
    clock = ManualClock()
    now = clock.wall_us() / 1e6
    claim = TaskClaim("i", "t", "w", now, now + 30, 1, _clock=clock)
    assert (claim.remaining(), claim.is_expired()) == (30, False)
    clock.advance(30)
    assert (claim.remaining(), claim.is_expired()) == (0, True)
    endless = replace(claim, expires_at=None)
    assert (TaskClaim("i", "t", "w", now, None, 1).remaining(), endless.expires_at) == (None, None)


def test_claims_are_equal_by_what_can_be_seen_of_them(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    by_hand = TaskClaim("i", "t", "w", claim.claimed_at, claim.expires_at, claim.token, _clock=clock)
    assert by_hand == claim
    assert hash(by_hand) == hash(claim)
    assert replace(claim, token=claim.token + 1) != claim


def test_the_values_that_a_store_returns_are_of_plain_types(store: Any) -> None:
    class Text(str):
        __slots__ = ()

    store.add_instance(Text("i"), [NewTask(Text("t"), kind=Text("k"), tags=[Text("g")])], definition_hash=Text("h"))
    (claimed,) = store.claim_available_tasks(Text("w"))
    names = [
        claimed.claim.instance_id,
        claimed.claim.task_id,
        claimed.claim.worker_id,
        claimed.task.kind,
        *claimed.task.tags,
        claimed.task.workflow_definition_hash,
        store.get_task("i", "t").worker_id,
    ]
    assert {type(name) for name in names} == {str}


@pytest.mark.parametrize(
    "make",
    [lambda: TaskClaim("i", "t", "w", 1.0, 2.0, 1), lambda: NewTask("t"), RetryPolicy],
    ids=["claim", "new task", "retry policy"],
)
def test_a_record_shows_what_it_holds(make: Callable[[], Any]) -> None:
    record = make()
    assert repr(record).startswith(type(record).__name__ + "(")
    assert "_clock" not in repr(record)
