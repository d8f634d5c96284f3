"""The options of a worker, and the checks of the arguments that set the options."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Collection
from dataclasses import dataclass

from .. import validate
from ..errors import InvalidArgumentError
from ..model import Duration

BATCH_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The checked options of a worker. Durations are in seconds, and ``None`` means no limit."""

    worker_id: str
    concurrency: int
    claim_ttl: float | None
    heartbeat_interval: float | None
    tags: tuple[str, ...] | None
    batch_size: int
    poll_interval: float
    task_timeout: float | None
    shutdown_timeout: float


def worker_options(
    *,
    worker_id: str | None = None,
    concurrency: int = 1,
    claim_ttl: Duration | None = 600.0,
    heartbeat_interval: Duration | None = None,
    tags: Collection[str] | None = None,
    batch_size: int | None = None,
    poll_interval: Duration = 1.0,
    task_timeout: Duration | None = None,
    shutdown_timeout: Duration = 5.0,
) -> WorkerOptions:
    """Check the arguments, and return the options with defaults filled in. Raises ``InvalidArgumentError``."""
    if worker_id is None:
        worker_id = new_worker_id()
    validate.name("worker_id", worker_id)
    ttl = None if claim_ttl is None else positive("claim_ttl", claim_ttl)
    heartbeat = None if heartbeat_interval is None else positive("heartbeat_interval", heartbeat_interval)
    if ttl is None:
        heartbeat = None  # a claim without an end needs no renewal
    elif heartbeat is None:
        heartbeat = ttl / 3
    elif heartbeat >= ttl:
        raise InvalidArgumentError(
            f"heartbeat_interval ({heartbeat:g} s) must be shorter than claim_ttl ({ttl:g} s): otherwise claims expire "
            "before they are renewed"
        )
    return WorkerOptions(
        worker_id=worker_id,
        concurrency=validate.integer("concurrency", concurrency, 1, 10_000),
        claim_ttl=ttl,
        heartbeat_interval=heartbeat,
        tags=None if tags is None else validate.names("tags", tags),
        batch_size=BATCH_MAX if batch_size is None else validate.integer("batch_size", batch_size, 1, 10_000),
        poll_interval=positive("poll_interval", poll_interval),
        task_timeout=None if task_timeout is None else positive("task_timeout", task_timeout),
        shutdown_timeout=seconds("shutdown_timeout", shutdown_timeout),
    )


def seconds(argument: str, value: Duration) -> float:
    """Return a duration of at least 0 in seconds. Raises ``InvalidArgumentError``."""
    return validate.duration_us(argument, value) / 1e6


def positive(argument: str, value: Duration) -> float:
    """Return a duration of more than 0 in seconds. Raises ``InvalidArgumentError``."""
    duration_s = seconds(argument, value)
    if not duration_s:
        raise InvalidArgumentError(f"{argument} must be more than 0 s, not {validate.shown(value)}")
    return duration_s


def new_worker_id() -> str:
    """Return a new worker id, which consists of the host's name, the process id and random digits."""
    host = socket.gethostname().encode("ascii", "replace").decode().replace("\0", "")[:64] or "localhost"
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"
