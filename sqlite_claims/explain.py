"""Why a task is not running, as one sentence: put together from plain values, so that every store says the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from .model import InstanceInfo, InstanceState, TaskInfo, TaskState

_NAMES_SHOWN_MAX = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def explain(
    task: TaskInfo,
    instance: InstanceInfo,
    *,
    unmet: Sequence[str] = (),
    due_in: float = 0.0,
    waited: float = 0.0,
    last_claim: bool = False,
    holder_is_gone: bool = False,
    kept_by: Sequence[int] = (),
    workers: int = 0,
    wall_us: int = 0,
) -> str:
    """The sentence for ``task``.

    ``unmet``: the names of its dependencies that are not completed
    (of a ``CANCELLED`` task: of those that failed or were cancelled). ``due_in``: seconds until a ``SCHEDULED`` task
    is ready. ``waited``: seconds that a ``READY`` one has been. ``last_claim``: its ``max_lost`` allows no loss of the
    claim on it. ``holder_is_gone``: the claim's session is over. ``kept_by``: the processes that hold it in
    place of the one that opened it, which has ended. ``workers``: sessions alive. ``wall_us``: the wall
    clock now.
    """
    start = f"Task {task.task_id!r} of instance {task.instance_id!r} "
    paused = instance.state is InstanceState.PAUSED
    match task.state:
        case TaskState.COMPLETED:
            return f"{start}was completed{_at(task.finished_at)}."
        case TaskState.FAILED:
            error = (task.error or "").partition("\n")[0]  # a traceback may follow
            return f"{start}failed for good{_at(task.finished_at)}, {_used(task)}: {error}"
        case TaskState.CANCELLED:
            return start + _cancelled(task, instance, unmet)
        case TaskState.BLOCKED:
            what = f"is blocked: it waits for {_listed(unmet)}"
        case TaskState.SCHEDULED:
            what = f"is scheduled{_why_scheduled(task)}: it is due in {_span(due_in)}, {_moment(wall_us, due_in)}"
        case TaskState.CLAIMED:
            return start + _claimed(task, paused, last_claim, holder_is_gone, kept_by, wall_us)
        case _:
            what = f"has been ready for {_span(waited)}"
            if not paused:
                what += f": it waits for {_wanted_worker(task)}; {_workers(workers)}"
    if paused:
        what += ", and its instance is paused"
    return f"{start}{what}."


def _cancelled(task: TaskInfo, instance: InstanceInfo, unmet: Sequence[str]) -> str:
    # One that had been cancelled before its instance was has an end of its own.
    if instance.state is InstanceState.CANCELLED and task.finished_at == instance.finished_at:
        because = f" with its instance{f': {instance.reason}' if instance.reason else ''}"
    else:
        because = f" because it depends on {_listed(unmet)}, which failed or was cancelled"
    return f"was cancelled{_at(task.finished_at)}{because}."


def _claimed(
    task: TaskInfo, paused: bool, last_claim: bool, holder_is_gone: bool, kept_by: Sequence[int], wall_us: int
) -> str:
    held = f"is held by worker {task.worker_id!r}"
    left = None if task.claim is None else task.claim.remaining()
    fails = f"it will be failed, because max_lost is {task.max_lost}, "
    looked = "when a worker looks for work"
    if holder_is_gone:
        then = fails if last_claim else "it will be ready again "
        left_behind = f" (it left {_processes(kept_by)} behind)" if kept_by else ""
        pause = ", and its instance is paused" if paused else ""
        return f"{held}, whose process is gone{left_behind}: {then}{looked}{pause}."
    if kept_by:
        held += f" (its process has ended; {_processes(kept_by)} {'keeps' if len(kept_by) == 1 else 'keep'} the claim)"
    if left is None:
        return f"{held}, by a claim without an end."
    if left > 0:
        return f"{held} for {_span(left)} more, until {_moment(wall_us, left)}, if the claim is not renewed."
    then = fails if last_claim else "another may take it over "
    return f"{held}, whose claim has expired: {then}{'once its paused instance is resumed' if paused else looked}."


def _processes(pids: Sequence[int]) -> str:
    shown = ", ".join(map(str, pids[:_NAMES_SHOWN_MAX]))
    more = len(pids) - _NAMES_SHOWN_MAX
    return f"process{'' if len(pids) == 1 else 'es'} {shown}{f' and {more} more' if more > 0 else ''}"


def _wanted_worker(task: TaskInfo) -> str:
    wanted = f"a worker that handles {f'the kind {task.kind!r}' if task.kind else 'tasks without a kind'}"
    if task.tags:
        wanted += (
            f" and has {'the tag' if len(task.tags) == 1 else 'all the tags'} {_listed(task.tags)} (or no tags at all)"
        )
    return wanted


def _workers(alive: int) -> str:
    if alive == 0:
        return "no worker session is open"
    return "1 worker session is open" if alive == 1 else f"{alive} worker sessions are open"


def _why_scheduled(task: TaskInfo) -> str:
    if task.failures:
        return f" to be tried again after {_times(task.failures, 'failure')} (max_attempts is {task.max_attempts})"
    return " by the calendar" if task.available_at is not None else ""


def _used(task: TaskInfo) -> str:
    return f"after {_times(task.failures, 'failure')} and {_times(task.losses, 'lost claim')}"


def _times(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN_MAX])
    more = len(names) - _NAMES_SHOWN_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    return str(timedelta(seconds=round(seconds)))


def _moment(wall_us: int, seconds: float = 0.0) -> str:
    try:
        return f"{_EPOCH + timedelta(microseconds=wall_us, seconds=seconds):%Y-%m-%d %H:%M:%S} UTC"
    except OverflowError:
        return "after the year 9999"


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f" at {moment:%Y-%m-%d %H:%M:%S} UTC"
