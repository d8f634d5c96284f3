"""``add_instance`` and ``add_tasks`` add either all tasks or none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from sqlite_claims import (
    AlreadyExistsError,
    InstanceState,
    InvalidArgumentError,
    InvalidStateError,
    NewTask,
    NotFoundError,
    RetryPolicy,
    TaskState,
)
from sqlite_claims.testing import ManualClock

Seen = Callable[[], list[Any]]


def test_an_added_task_is_stored_with_all_that_was_said_of_it(store: Any, clock: ManualClock) -> None:
    retry = RetryPolicy(initial_delay=1.5, multiplier=3, max_delay=100, jitter=0.25)
    task = NewTask(
        "t", b"in", kind="k", depends_on=["z", "d"], priority=2, tags=["b", "a"], delay=2.5, max_attempts=7,
        max_lost=9, retry=retry,
    )  # fmt: skip
    assert store.add_instance("i", [NewTask("d"), NewTask("z"), task], definition_hash="def/1") is True
    found = store.get_task("i", "t")
    now = datetime.fromtimestamp(clock.wall_us() / 1e6, UTC)
    assert (found.instance_id, found.task_id, found.input, found.workflow_definition_hash) == ("i", "t", b"in", "def/1")
    assert (found.kind, found.priority, found.tags, found.depends_on) == ("k", 2, ("a", "b"), ("d", "z"))
    assert (found.delay, found.available_at, found.max_attempts, found.max_lost) == (2.5, None, 7, 9)
    assert (found.retry, found.state) == (retry, TaskState.BLOCKED)
    assert (found.attempts, found.failures, found.losses) == (0, 0, 0)
    assert (found.output, found.error, found.worker_id, found.claim) == (None, None, None, None)
    assert (found.added_at, found.started_at, found.finished_at) == (now, None, None)
    assert found.added_at.tzinfo is UTC


def test_a_task_has_the_defaults_that_new_task_says(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    found = store.get_task("i", "t")
    assert (found.kind, found.priority, found.tags, found.depends_on, found.delay) == ("", 3, (), (), None)
    assert (found.max_attempts, found.max_lost, found.retry) == (3, 5, RetryPolicy())
    assert (found.input, found.workflow_definition_hash) == (b"", "")


def test_an_instance_without_tasks_is_in_progress(store: Any, clock: ManualClock) -> None:
    assert store.add_instance("i") is True
    found = store.get_instance("i")
    assert (found.instance_id, found.state, found.definition_hash) == ("i", InstanceState.IN_PROGRESS, "")
    assert found.counts == dict.fromkeys(TaskState, 0)
    assert (found.reason, found.finished_at) == (None, None)
    assert found.added_at.timestamp() == clock.wall_us() / 1e6
    assert store.add_tasks("i", []) == 0
    assert store.add_tasks("i", [NewTask("t")]) == 1


def test_an_instance_that_is_there_already_is_an_error_unless_it_may_be_skipped(store: Any, seen: Seen) -> None:
    store.add_instance("i", [NewTask("t")])
    before = seen()
    with pytest.raises(AlreadyExistsError):
        store.add_instance("i", [NewTask("u")])
    assert store.add_instance("i", [NewTask("u")], if_exists="skip") is False
    assert seen() == before
    assert store.add_instance("j", [NewTask("u")], if_exists="skip") is True


@pytest.mark.parametrize("instance", ["cancelled", "completed"])
def test_an_ended_instance_is_there_too(store: Any, instance: str) -> None:
    store.add_instance("i", [NewTask("t")])
    if instance == "cancelled":
        store.cancel_instance("i")
    else:
        store.complete_task(store.claim_task("i", "t", "w", 30))
    with pytest.raises(AlreadyExistsError):
        store.add_instance("i")


def test_a_stored_tasks_name_is_an_error_unless_it_may_be_skipped(store: Any, seen: Seen) -> None:
    store.add_instance("i", [NewTask("t", b"first")])
    before = seen()
    with pytest.raises(AlreadyExistsError):
        store.add_tasks("i", [NewTask("u"), NewTask("t", b"second")])
    assert seen() == before
    assert store.add_tasks("i", [NewTask("u"), NewTask("t", b"second")], if_exists="skip") == 1
    assert store.get_task("i", "t").input == b"first"
    assert store.add_tasks("i", [NewTask("u"), NewTask("t")], if_exists="skip") == 0


def test_the_same_task_name_may_stand_in_another_instance(store: Any) -> None:
    store.add_instance("i", [NewTask("t", b"i")])
    store.add_instance("j", [NewTask("t", b"j")])
    assert (store.get_task("i", "t").input, store.get_task("j", "t").input) == (b"i", b"j")


def test_adding_to_what_is_not_there_is_not_found(store: Any) -> None:
    for tasks in ([], [NewTask("t")]):
        with pytest.raises(NotFoundError):
            store.add_tasks("nowhere", tasks)


def test_adding_to_a_cancelled_instance_is_refused_even_nothing(store: Any, seen: Seen) -> None:
    store.add_instance("i", [NewTask("t")])
    store.cancel_instance("i")
    before = seen()
    for tasks in ([], [NewTask("u")]):
        with pytest.raises(InvalidStateError):
            store.add_tasks("i", tasks)
    assert seen() == before


@pytest.mark.parametrize("failed", [False, True])
def test_a_completed_or_failed_instance_that_gets_tasks_is_in_progress_again(store: Any, failed: bool) -> None:
    store.add_instance("i", [NewTask("t")])
    claim = store.claim_task("i", "t", "w", 30)
    if failed:
        store.fail_task(claim, "no", retry=False)
    else:
        store.complete_task(claim)
    ended = store.get_instance("i")
    assert ended.state is (InstanceState.FAILED if failed else InstanceState.COMPLETED)
    assert ended.finished_at is not None
    assert store.add_tasks("i", []) == 0
    assert store.add_tasks("i", [NewTask("t")], if_exists="skip") == 0
    assert store.get_instance("i") == ended
    store.add_tasks("i", [NewTask("u")])
    again = store.get_instance("i")
    assert (again.state, again.finished_at) == (InstanceState.IN_PROGRESS, None)
    store.complete_task(store.claim_task("i", "u", "w", 30))
    assert store.get_instance("i").state is ended.state


def test_a_paused_instance_that_gets_tasks_stays_paused(store: Any, offered: Callable[..., list[str]]) -> None:
    store.add_instance("i", [NewTask("t")])
    store.pause_instance("i")
    store.add_tasks("i", [NewTask("u")])
    assert store.get_instance("i").state is InstanceState.PAUSED
    assert offered() == []
    store.resume_instance("i")
    assert offered() == ["t", "u"]


CIRCLES = {
    "two": [NewTask("a", depends_on=["b"]), NewTask("b", depends_on=["a"])],
    "three behind one": [
        NewTask("start"),
        NewTask("a", depends_on=["start", "c"]),
        NewTask("b", depends_on=["a"]),
        NewTask("c", depends_on=["b"]),
    ],
}
BAD_GRAPHS = CIRCLES | {
    "unknown dependency": [NewTask("a"), NewTask("b", depends_on=["nothing"])],
    "the same id twice": [NewTask("a"), NewTask("b"), NewTask("a")],
}


@pytest.mark.parametrize("tasks", BAD_GRAPHS.values(), ids=BAD_GRAPHS)
def test_tasks_that_could_never_run_are_refused_as_a_whole(store: Any, seen: Seen, tasks: list[NewTask]) -> None:
    with pytest.raises(InvalidArgumentError):
        store.add_instance("i", tasks)
    assert seen() == [[], [], []]
    store.add_instance("i", [NewTask("stored")])
    before = seen()
    with pytest.raises(InvalidArgumentError):
        store.add_tasks("i", [NewTask("fine"), *tasks])
    assert seen() == before


@pytest.mark.parametrize("tasks", CIRCLES.values(), ids=CIRCLES)
def test_a_circle_is_shown(store: Any, tasks: list[NewTask]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        store.add_instance("i", tasks)
    for name in ("a", "b"):
        assert name in str(caught.value).partition(":")[2]


def test_a_task_that_depends_on_itself_cannot_be_made() -> None:
    with pytest.raises(InvalidArgumentError, match="depends_on"):
        NewTask("a", depends_on=["b", "a"])


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_a_dependency_on_what_failed_or_was_cancelled_is_refused(store: Any, seen: Seen, how: str) -> None:
    store.add_instance("i", [NewTask("failed"), NewTask("cancelled", depends_on=["failed"]), NewTask("other")])
    store.fail_task(store.claim_task("i", "failed", "w", 30), "no", retry=False)
    before = seen()
    with pytest.raises(InvalidStateError):
        store.add_tasks("i", [NewTask("fine"), NewTask("new", depends_on=["other", how])])
    assert seen() == before


def test_tasks_may_be_named_before_what_they_depend_on(store: Any, offered: Callable[..., list[str]]) -> None:
    store.add_instance("i", [NewTask("last", depends_on=["middle"]), NewTask("middle", depends_on=["a"]), NewTask("a")])
    for name in ("a", "middle", "last"):
        assert offered() == [name]
        store.complete_task(store.claim_task("i", name, "w", 30))


def test_tasks_may_come_from_a_generator_whose_own_error_passes_through(store: Any, seen: Seen) -> None:
    assert store.add_instance("i", (NewTask(f"t{n}") for n in range(3)))

    def broken() -> Any:
        yield NewTask("u")
        raise KeyError("mine")

    before = seen()
    with pytest.raises(KeyError, match="mine"):
        store.add_tasks("i", broken())
    with pytest.raises(KeyError, match="mine"):
        store.add_instance("j", broken())
    assert seen() == before


def test_more_than_a_hundred_thousand_tasks_a_call_are_refused(store: Any, seen: Seen) -> None:
    task = NewTask("t")
    with pytest.raises(InvalidArgumentError, match="tasks"):
        store.add_instance("i", (NewTask(f"t{n}") for n in range(100_001)))
    store.add_instance("i")
    before = seen()
    with pytest.raises(InvalidArgumentError, match="tasks"):
        store.add_tasks("i", (task for _ in range(100_001)))
    assert seen() == before


@pytest.mark.parametrize("name", ["x", "ä" * 128, "x" * 256, "a b\n\t", "日本", "🙂" * 64, "'; --", "%", "NULL", "0"])
def test_a_name_is_any_text_of_up_to_256_bytes(store: Any, name: str) -> None:
    store.add_instance(name, [NewTask(name, kind=name, tags=[name])], definition_hash=name)
    (claimed,) = store.claim_available_tasks(name, tags=[name], kinds=[name])
    assert (claimed.claim.instance_id, claimed.claim.task_id, claimed.claim.worker_id) == (name, name, name)
    assert (claimed.task.kind, claimed.task.tags, claimed.task.workflow_definition_hash) == (name, (name,), name)
    store.complete_task(claimed.claim)
    assert store.get_task(name, name).worker_id == name


def test_names_that_look_alike_are_different(store: Any) -> None:
    names = ["a", "A", "a ", "ä", "a\u0308", "1", "01", "1.0"]
    store.add_instance("i", [NewTask(name) for name in names])
    assert sorted(task.task_id for task in store.list_tasks()) == sorted(names)


@pytest.mark.parametrize(
    "given", [b"", b"\0\x01", bytearray(b"ab"), memoryview(b"abcd")[::2]], ids=lambda given: type(given).__name__
)
def test_an_input_is_bytes_like(store: Any, given: Any) -> None:
    store.add_instance("i", [NewTask("t", given)])
    assert store.find_available_tasks("w", 1)[0].input == bytes(given)
    assert store.get_task("i", "t").input == bytes(given)


# -- times of tasks


def test_a_delay_counts_from_the_adding(store: Any, clock: ManualClock, offered: Callable[..., list[str]]) -> None:
    store.add_instance("i", [NewTask("t", delay=timedelta(minutes=1)), NewTask("now", delay=0)])
    assert store.get_task("i", "t").state is TaskState.SCHEDULED
    assert store.get_task("i", "now").state is TaskState.READY
    assert offered() == ["now"]
    clock.advance(59.999999)
    assert offered() == ["now"]
    clock.advance(0.000001)
    assert offered() == ["now", "t"]
    assert store.get_task("i", "t").state is TaskState.READY
    assert store.get_task("i", "t").delay == 60.0


def _wall(clock: ManualClock, seconds: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=clock.wall_us(), seconds=seconds)


def test_a_task_waits_for_its_time_of_day(store: Any, clock: ManualClock, offered: Callable[..., list[str]]) -> None:
    at = _wall(clock, 60)
    store.add_instance("i", [NewTask("t", available_at=at.astimezone(timezone(timedelta(hours=-7))))])
    task = store.get_task("i", "t")
    assert (task.state, task.available_at, task.delay) == (TaskState.SCHEDULED, at, None)
    assert task.available_at.utcoffset() == timedelta(0)
    clock.advance(59.999999)
    assert (offered(), store.claim_task("i", "t", "w", 30)) == ([], None)
    clock.advance(0.000001)
    assert store.get_task("i", "t").state is TaskState.READY
    assert offered() == ["t"]


def test_claiming_by_name_sees_that_a_time_of_day_has_come(store: Any, clock: ManualClock) -> None:
    store.add_instance("i", [NewTask("t", available_at=_wall(clock, 60))])
    clock.advance(60)
    assert store.claim_task("i", "t", "w", 30) is not None


def test_a_time_of_day_that_has_passed_is_now(
    store: Any, clock: ManualClock, offered: Callable[..., list[str]]
) -> None:
    store.add_instance("i", [NewTask("first")])
    clock.advance(1)
    store.add_tasks("i", [NewTask("t", available_at=_wall(clock, -3600)), NewTask("ancient", available_at=_YEAR_1)])
    clock.advance(1)
    store.add_tasks("i", [NewTask("last")])
    assert offered() == ["first", "t", "ancient", "last"]
    assert store.get_task("i", "ancient").available_at == _YEAR_1


_YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)


def test_a_task_due_by_the_calendar_has_the_place_of_when_it_was_due(
    store: Any, clock: ManualClock, offered: Callable[..., list[str]]
) -> None:
    store.add_instance(
        "i", [NewTask("later", available_at=_wall(clock, 20)), NewTask("t", available_at=_wall(clock, 10))]
    )
    clock.advance(5)
    store.add_tasks("i", [NewTask("before")])
    clock.advance(10)
    store.add_tasks("i", [NewTask("between")])
    clock.advance(10)
    store.add_tasks("i", [NewTask("after")])
    assert offered() == ["before", "t", "between", "later", "after"]


def test_many_tasks_due_by_the_calendar_at_once_hide_nothing(
    store: Any, clock: ManualClock, offered: Callable[..., list[str]]
) -> None:
    at = _wall(clock, 10)
    many = [f"t{n:04}" for n in range(2500)]
    store.add_instance("i", [NewTask(name, available_at=at, priority=4) for name in many])
    store.add_instance(
        "j", [NewTask("urgent", available_at=at, priority=1), NewTask("plain"), NewTask("low", priority=5)]
    )
    store.add_instance("k", [NewTask("of another kind", kind="x", available_at=at, priority=5)])
    clock.advance(10)
    assert store.wait_for_tasks(0, kinds=["x"])
    assert offered("w", 1, kinds=["x"]) == ["of another kind"]
    assert offered("w", 2) == ["urgent", "plain"]
    assert offered("w", 3000) == ["urgent", "plain", *many, "low", "of another kind"]


def test_of_many_tasks_that_become_due_at_once_all_can_be_claimed_at_once(store: Any, clock: ManualClock) -> None:
    at = _wall(clock, 10)
    many = [f"t{n:04}" for n in range(2500)]
    store.add_instance("i", [NewTask(name, available_at=at) for name in many])
    clock.advance(10)
    assert [claimed.task.task_id for claimed in store.claim_available_tasks("w", 3000)] == many


@pytest.mark.parametrize(
    "at",
    [
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(9000, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2500, 6, 1, 12, 0, 0, 123457, tzinfo=UTC),
    ],
    ids=str,
)
def test_a_time_of_day_may_be_far_away_and_is_kept_exactly(store: Any, at: datetime) -> None:
    store.add_instance("i", [NewTask("t", available_at=at)])
    assert store.get_task("i", "t").available_at == at
    assert store.get_task("i", "t").state is TaskState.SCHEDULED
    assert "scheduled" in store.explain_task("i", "t")


def test_a_time_of_day_that_no_clock_in_utc_shows_is_refused_when_the_task_is_made() -> None:
    west, east = timezone(timedelta(hours=-1)), timezone(timedelta(hours=1))
    for at in (datetime(9999, 12, 31, 23, 30, tzinfo=west), datetime(1, 1, 1, tzinfo=east)):
        with pytest.raises(InvalidArgumentError, match="available_at"):
            NewTask("t", available_at=at)


def test_the_longest_delay_that_is_taken_is_kept(store: Any) -> None:
    store.add_instance("i", [NewTask("t", delay=timedelta(days=365 * 7000))])
    assert store.get_task("i", "t").delay == 365 * 7000 * 86_400
    assert store.get_task("i", "t").state is TaskState.SCHEDULED
    assert store.find_available_tasks("w", 1) == []
    assert "scheduled" in store.explain_task("i", "t")
