"""One sentence that explains why a task is not running. All stores use this module, so all stores
return the same sentences."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from .model import InstanceInfo, InstanceState, TaskInfo, TaskState

EXPIRED = "expired"
"""The error of a task that has expired."""
_SHOWN_MAX = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEXT_SWEEP = "when a worker next looks for tasks"


def explain(
    task: TaskInfo,
    instance: InstanceInfo,
    *,
    unmet: Sequence[str],
    due_in_s: float,
    waited_s: float,
    is_last_claim: bool,
    is_holder_gone: bool,
    holding_pids: Sequence[int] = (),
    open_sessions: int,
    is_limit_full: bool,
    wall_us: int,
) -> str:
    """Return the sentence for a task.

    Args:
        task: The task.
        instance: The task's instance.
        unmet: Names of the task's dependencies that are not completed. For a cancelled task: only dependencies that
            failed or were cancelled.
        due_in_s: Seconds until a scheduled task becomes ready.
        waited_s: Seconds since a ready task became ready.
        is_last_claim: True if the task fails when the current claim is lost.
        is_holder_gone: True if the session of the current claim has ended.
        holding_pids: Process ids of processes that still hold the claim, after the process that opened the session has
            ended.
        open_sessions: Number of open worker sessions.
        is_limit_full: True if the task's limit permits no further claim now.
        wall_us: Time of the wall clock, in microseconds since 1970.
    """
    subject = f"Task {task.task_id!r} of instance {task.instance_id!r}"
    is_paused = instance.state is InstanceState.PAUSED
    match task.state:
        case TaskState.COMPLETED:
            return f"{subject} was completed{_at(task.finished_at)}."
        case TaskState.FAILED:
            error = (task.error or "").partition("\n")[0]  # the first line has the error, and a traceback may follow
            return (
                f"{subject} failed{_at(task.finished_at)}, after {_count(task.failures, 'failure')} and "
                f"{_count(task.losses, 'lost claim')}, and runs again only if it is retried: {error}"
            )
        case TaskState.CANCELLED:
            return f"{subject} {_cancelled(task, instance, unmet)}."
        case TaskState.CLAIMED:
            claim = _claimed(
                task,
                is_paused=is_paused,
                is_last_claim=is_last_claim,
                is_holder_gone=is_holder_gone,
                holding_pids=holding_pids,
                wall_us=wall_us,
            )
            return f"{subject} {claim}."
        case TaskState.BLOCKED:
            reason = f"is blocked until {_names(unmet)} {'is' if len(unmet) == 1 else 'are'} completed"
        case TaskState.SCHEDULED:
            due = f"{_duration(due_in_s)}{_wall_time(wall_us, due_in_s)}"
            reason = f"is scheduled{_schedule(task)}: it becomes ready in {due}"
        case _:
            reason = f"has been ready for {_duration(waited_s)}"
            if is_limit_full:
                reason += f": its limit {task.limit!r} permits no further claim now"
            elif not is_paused:
                reason += f": it needs {_wanted_worker(task)}; {_sessions(open_sessions)}"
    if is_paused:
        reason += "; its instance is paused, and starts no task until it is resumed"
    return f"{subject} {reason}."


def _cancelled(task: TaskInfo, instance: InstanceInfo, unmet: Sequence[str]) -> str:
    cancelled = f"was cancelled{_at(task.finished_at)}"
    if task.error == EXPIRED and task.expires_at is not None:
        return f"{cancelled}, because no worker had claimed it before it expired{_at(task.expires_at)}"
    # If the task ended before its cancelled instance ended, the task was cancelled because of a dependency.
    if instance.sealed and task.finished_at == instance.finished_at:
        return f"{cancelled} with its instance{f': {instance.reason}' if instance.reason else ''}"
    verb = "was" if len(unmet) == 1 else "were"
    cancelled += f" because it depends on {_names(unmet)}, which failed, expired or {verb} cancelled"
    if instance.state is InstanceState.CANCELLED:
        return cancelled
    return f"{cancelled}; if the cause is a failed task, a retry of the failed task brings this task back"


def _claimed(
    task: TaskInfo,
    *,
    is_paused: bool,
    is_last_claim: bool,
    is_holder_gone: bool,
    holding_pids: Sequence[int],
    wall_us: int,
) -> str:
    claimed = f"is claimed by worker {task.worker_id!r}"
    fails = f"it fails, because max_lost is {task.max_lost},"
    if is_holder_gone:
        outcome = fails if is_last_claim else "it becomes ready again"
        left_running = f" and left {_processes(holding_pids)} running" if holding_pids else ""
        pause = "; its instance is paused, and starts no task until it is resumed" if is_paused else ""
        return f"{claimed}, whose process has ended{left_running}: {outcome} {_NEXT_SWEEP}{pause}"
    if holding_pids:
        verb = "holds" if len(holding_pids) == 1 else "hold"
        claimed += f" (whose process has ended; {_processes(holding_pids)} still {verb} the claim)"
    remaining_s = None if task.claim is None else task.claim.remaining()
    if remaining_s is None:
        return f"{claimed}, and the claim does not expire"
    if remaining_s > 0:
        return (
            f"{claimed} for {_duration(remaining_s)} more{_wall_time(wall_us, remaining_s, 'until')}, "
            "or longer if the claim is renewed"
        )
    outcome = fails if is_last_claim else "another worker may take it over"
    when = "once its paused instance is resumed" if is_paused else _NEXT_SWEEP
    return f"{claimed}, but the claim has expired: {outcome} {when}"


def _processes(pids: Sequence[int]) -> str:
    return f"process{'' if len(pids) == 1 else 'es'} {_some([str(pid) for pid in pids])}"


def _wanted_worker(task: TaskInfo) -> str:
    wanted = f"a worker that handles {f'the kind {task.kind!r}' if task.kind else 'tasks without a kind'}"
    if task.tags:
        tags = f"{'the tag' if len(task.tags) == 1 else 'all the tags'} {_names(task.tags)}"
        wanted += f" and has {tags} (or no tags at all)"
    return wanted


def _sessions(number: int) -> str:
    if number == 0:
        return "no worker session is open"
    return "1 worker session is open" if number == 1 else f"{number} worker sessions are open"


def _schedule(task: TaskInfo) -> str:
    if task.failures:
        return f" to be retried after {_count(task.failures, 'failure')} (max_attempts is {task.max_attempts})"
    return " by its available_at" if task.available_at is not None else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _names(names: Sequence[str]) -> str:
    return _some([repr(name) for name in names])


def _some(items: Sequence[str]) -> str:
    """Return text that lists the first items and the number of the remaining items."""
    shown = ", ".join(items[:_SHOWN_MAX])
    more = len(items) - _SHOWN_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    return str(timedelta(seconds=round(seconds)))


def _wall_time(wall_us: int, seconds: float, preposition: str = "at") -> str:
    """Return text with the wall-clock time ``seconds`` after the time ``wall_us``."""
    try:
        return f", {preposition} {_EPOCH + timedelta(microseconds=wall_us, seconds=seconds):%Y-%m-%d %H:%M:%S} UTC"
    except OverflowError:
        return ", after the year 9999"


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f" at {moment:%Y-%m-%d %H:%M:%S} UTC"
