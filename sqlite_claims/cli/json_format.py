"""Conversion of records to and from JSON. ``add --json`` can read the lines that ``ls --json`` writes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypedDict

from ..errors import BackendError, InvalidArgumentError
from ..model import InstanceInfo, LimitInfo, NewTask, RetryPolicy, TaskClaim, TaskInfo, TaskState, WorkerInfo
from ..schedules import Cron, Every, ScheduleInfo

JsonObject = dict[str, object]

_TASK_KEYS = {field.name for field in fields(NewTask)} | {"input_base64"}
# Keys that ls --json writes and add --json ignores. These keys contain the state and the results of the listed task.
_LISTED_KEYS = ({field.name for field in fields(TaskInfo)} | {"output_base64"}) - _TASK_KEYS
_KEYS_OF_A_LISTED_TASK = {"instance_id", "state", "attempts", "added_at"}


class TaskDefaults(TypedDict):
    """Values for the fields that are missing in a line of JSON. ``delay`` is in seconds."""

    kind: str | None
    priority: int
    tags: Sequence[str]
    depends_on: Sequence[str]
    delay: float | None
    max_attempts: int
    max_lost: int
    limit: str | None


def _bytes_entry(key: str, data: bytes | None) -> dict[str, str | None]:
    """Return UTF-8 as text under the key ``key``, and any other bytes as base64 under the key ``{key}_base64``."""
    if data is None:
        return {key: None}
    try:
        return {key: data.decode()}
    except UnicodeDecodeError:
        return {f"{key}_base64": base64.b64encode(data).decode()}


def _time_entry(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def claim_entry(claim: TaskClaim) -> JsonObject:
    """Return a claim as JSON."""
    return {
        "worker_id": claim.worker_id,
        "claimed_at": claim.claimed_at,
        "expires_at": claim.expires_at,
        "is_expired": claim.is_expired(),
        "token": claim.token,
    }


def task_entry(task: TaskInfo) -> JsonObject:
    """Return a task as JSON."""
    return {
        "instance_id": task.instance_id,
        "task_id": task.task_id,
        "state": task.state.value,
        **_bytes_entry("input", task.input),
        "kind": task.kind or None,
        "priority": task.priority,
        "tags": list(task.tags),
        "depends_on": list(task.depends_on),
        "delay": task.delay,
        "available_at": _time_entry(task.available_at),
        "max_attempts": task.max_attempts,
        "max_lost": task.max_lost,
        "retry": asdict(task.retry),
        "attempts": task.attempts,
        "failures": task.failures,
        "losses": task.losses,
        **_bytes_entry("output", task.output),
        "error": task.error,
        "worker_id": task.worker_id,
        "claim": None if task.claim is None else claim_entry(task.claim),
        "added_at": _time_entry(task.added_at),
        "started_at": _time_entry(task.started_at),
        "finished_at": _time_entry(task.finished_at),
        "unique_key": task.unique_key,
        "limit": task.limit,
        "metadata": dict(task.metadata),
        "timeout": task.timeout,
        "expires_at": _time_entry(task.expires_at),
    }


def instance_entry(instance: InstanceInfo) -> JsonObject:
    """Return an instance as JSON."""
    return {
        "instance_id": instance.instance_id,
        "state": instance.state.value,
        "counts": counts_entry(instance.counts),
        "definition_hash": instance.definition_hash,
        "reason": instance.reason,
        "added_at": _time_entry(instance.added_at),
        "finished_at": _time_entry(instance.finished_at),
    }


def limit_entry(limit: LimitInfo) -> JsonObject:
    """Return a limit as JSON."""
    return {
        "name": limit.name,
        "concurrency": limit.concurrency,
        "rate": None if limit.rate is None else list(limit.rate),
        "running": limit.running,
        "waiting": limit.waiting,
        "partitions": limit.partitions,
    }


def schedule_entry(schedule: ScheduleInfo) -> JsonObject:
    """Return a schedule as JSON."""
    when = schedule.when
    return {
        "schedule_id": schedule.schedule_id,
        "cron": when.expression if isinstance(when, Cron) else None,
        "timezone": when.timezone if isinstance(when, Cron) else None,
        "every": when.interval if isinstance(when, Every) else None,
        "kind": schedule.task.kind,
        **_bytes_entry("input", schedule.task.input),
        "priority": schedule.task.priority,
        "tags": list(schedule.task.tags),
        "limit": schedule.task.limit,
        "catch_up": schedule.catch_up,
        "next_at": _time_entry(schedule.next_at),
        "last_at": _time_entry(schedule.last_at),
        "paused": schedule.paused,
    }


def counts_entry(counts: Mapping[TaskState, int]) -> dict[str, int]:
    """Return counts by task state as JSON."""
    return {state.value: number for state, number in counts.items()}


def worker_entry(worker: WorkerInfo) -> JsonObject:
    """Return a worker session as JSON."""
    return {
        "worker_id": worker.worker_id,
        "pid": worker.pid,
        "started_at": _time_entry(worker.started_at),
        "alive": worker.alive,
        "claims": worker.claims,
    }


def new_task(line: bytes, defaults: TaskDefaults) -> NewTask:
    """Return the task that a line of JSON describes. The line was written by a user or by ``ls --json``.

    Raises:
        InvalidArgumentError: The line is not a JSON object, or does not describe a task.
    """
    try:
        given = json.loads(line)
        if not isinstance(given, dict):
            raise InvalidArgumentError("not a JSON object")
        return _new_task(given, defaults)
    except BackendError:
        raise
    except ValueError as error:
        raise InvalidArgumentError(f"not JSON: {error}") from None
    except RecursionError:
        raise InvalidArgumentError("nested too deeply") from None


def _new_task(given: JsonObject, defaults: TaskDefaults) -> NewTask:
    if given.keys() >= _KEYS_OF_A_LISTED_TASK:
        given = _without_state_and_results(given)
    if unknown := given.keys() - _TASK_KEYS:
        raise InvalidArgumentError(f"unknown key {min(unknown)!r}; the keys are {', '.join(sorted(_TASK_KEYS))}")
    if "task_id" not in given:
        raise InvalidArgumentError("task_id is missing")
    # NewTask checks the types of the values.
    values: dict[str, Any] = {**defaults, **{key: value for key, value in given.items() if value is not None}}
    if "input_base64" in values:
        if "input" in values:
            raise InvalidArgumentError("both input and input_base64 are given; give one of them")
        try:
            values["input"] = base64.b64decode(values.pop("input_base64"), validate=True)
        except (ValueError, TypeError) as error:
            raise InvalidArgumentError(f"input_base64: {error}") from None
    elif "input" in values:
        if not isinstance(values["input"], str):
            raise InvalidArgumentError(f"input must be a string, not {json.dumps(values['input'])[:80]}")
        values["input"] = values["input"].encode("utf-8", "surrogatepass")
    for key in values.keys() & {"available_at", "expires_at"}:
        try:
            values[key] = datetime.fromisoformat(values[key])
        except (ValueError, TypeError) as error:
            raise InvalidArgumentError(f"{key}: {error}") from None
    if "retry" in values:
        try:
            values["retry"] = RetryPolicy(**values["retry"])
        except TypeError:
            raise InvalidArgumentError(
                "retry must be an object with the keys initial_delay, multiplier, max_delay, jitter"
            ) from None
    return NewTask(**values)


def _without_state_and_results(listed: JsonObject) -> JsonObject:
    task = {key: value for key, value in listed.items() if key not in _LISTED_KEYS}
    depends_on = task.get("depends_on")
    has_one_dependency = isinstance(depends_on, list) and len(depends_on) == 1
    if listed["state"] == TaskState.BLOCKED and has_one_dependency and not task.get("input"):
        task.pop("input", None)  # a task without an input gets the output of its dependency
    return task
