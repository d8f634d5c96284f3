"""Records as JSON: ``add --json`` reads what ``ls --json`` writes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from ..errors import BackendError, InvalidArgumentError
from ..model import InstanceInfo, NewTask, RetryPolicy, TaskClaim, TaskInfo, TaskState, WorkerInfo

_TASK_KEYS = {field.name for field in fields(NewTask)} | {"input_base64"}
# What ``ls --json`` tells of a task beside these: how it fared where it is listed.
_LISTED_KEYS = ({field.name for field in fields(TaskInfo)} | {"output_base64"}) - _TASK_KEYS
_LISTED = {"instance_id", "state", "attempts", "added_at"}


def _bytes_entry(name: str, data: bytes | None) -> dict[str, str | None]:
    """Text where it is UTF-8, else base64 under another name."""
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def claim_entry(claim: TaskClaim) -> dict[str, Any]:
    """One claim."""
    return {
        "worker_id": claim.worker_id,
        "claimed_at": claim.claimed_at,
        "expires_at": claim.expires_at,
        "is_expired": claim.is_expired(),
        "token": claim.token,
    }


def task_entry(task: TaskInfo) -> dict[str, Any]:
    """All about a task."""
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
        "available_at": _time(task.available_at),
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
        "added_at": _time(task.added_at),
        "started_at": _time(task.started_at),
        "finished_at": _time(task.finished_at),
    }


def instance_entry(instance: InstanceInfo) -> dict[str, Any]:
    """All about an instance."""
    return {
        "instance_id": instance.instance_id,
        "state": instance.state.value,
        "counts": counts_entry(instance.counts),
        "definition_hash": instance.definition_hash,
        "reason": instance.reason,
        "added_at": _time(instance.added_at),
        "finished_at": _time(instance.finished_at),
    }


def counts_entry(counts: Mapping[Any, int]) -> dict[str, int]:
    """Counts by task state."""
    return {state.value: number for state, number in counts.items()}


def worker_entry(worker: WorkerInfo) -> dict[str, Any]:
    """One worker session."""
    return {
        "worker_id": worker.worker_id,
        "pid": worker.pid,
        "started_at": _time(worker.started_at),
        "alive": worker.alive,
        "claims": worker.claims,
    }


def new_task(line: bytes, defaults: Mapping[str, Any]) -> NewTask:
    """The task that a line of JSON describes, by hand or by ``ls --json``. Raises ``InvalidArgumentError``."""
    try:
        return _new_task(json.loads(line), defaults)
    except BackendError:
        raise
    except ValueError as error:
        raise InvalidArgumentError(f"not JSON: {error}") from None
    except RecursionError:
        raise InvalidArgumentError("nested too deeply") from None


def _new_task(given: Any, defaults: Mapping[str, Any]) -> NewTask:
    if not isinstance(given, dict):
        raise InvalidArgumentError("not a JSON object")
    if given.keys() >= _LISTED:
        given = _as_it_was_added(given)
    if unknown := given.keys() - _TASK_KEYS:
        raise InvalidArgumentError(f"unknown key {min(unknown)!r}; there are {', '.join(sorted(_TASK_KEYS))}")
    if "task_id" not in given:
        raise InvalidArgumentError("task_id is missing")
    values = {**defaults, **{key: value for key, value in given.items() if value is not None}}
    if "input_base64" in values:
        if "input" in values:
            raise InvalidArgumentError("input and input_base64 exclude each other; give one")
        try:
            values["input"] = base64.b64decode(values.pop("input_base64"), validate=True)
        except (ValueError, TypeError) as error:
            raise InvalidArgumentError(f"input_base64: {error}") from None
    elif "input" in values:
        if not isinstance(values["input"], str):
            raise InvalidArgumentError(f"input must be a string, not {json.dumps(values['input'])[:80]}")
        values["input"] = values["input"].encode("utf-8", "surrogatepass")
    if "available_at" in values:
        try:
            values["available_at"] = datetime.fromisoformat(values["available_at"])
        except (ValueError, TypeError) as error:
            raise InvalidArgumentError(f"available_at: {error}") from None
    if "retry" in values:
        try:
            values["retry"] = RetryPolicy(**values["retry"])
        except TypeError:
            raise InvalidArgumentError(
                "retry must be an object of initial_delay, multiplier, max_delay, jitter"
            ) from None
    return NewTask(**values)


def _as_it_was_added(listed: dict[str, Any]) -> dict[str, Any]:
    """A listed task without its state and results."""
    task = {key: value for key, value in listed.items() if key not in _LISTED_KEYS}
    depends_on = task.get("depends_on")
    needs_one = isinstance(depends_on, list) and len(depends_on) == 1
    if listed["state"] == TaskState.BLOCKED and needs_one and not task.get("input"):
        task.pop("input", None)  # which will be the output of its dependency, unless there is an input_base64
    return task
