"""What runs tasks: ``PooledWorker`` in this process, ``WorkerPool`` in processes of their own, ``CheckpointingRunner``
for one instance from start to end, ``durable_map`` for the simplest use.

Names load when they are first used, so that a program which only adds tasks pays for none of this.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpointing import CheckpointingRunner
    from .context import FailTask, RunSummary, SnoozeTask, StopWorker, TaskContext
    from .durable import durable_map
    from .handle import WorkerHandle
    from .pool import WorkerPool, WorkerStartError
    from .pooled import PooledWorker
    from .registry import TaskRegistry

_HOMES = {
    "CheckpointingRunner": "checkpointing",
    "FailTask": "context",
    "PooledWorker": "pooled",
    "RunSummary": "context",
    "SnoozeTask": "context",
    "StopWorker": "context",
    "TaskContext": "context",
    "TaskRegistry": "registry",
    "WorkerHandle": "handle",
    "WorkerPool": "pool",
    "WorkerStartError": "pool",
    "durable_map": "durable",
}

__all__ = [
    "CheckpointingRunner",
    "FailTask",
    "PooledWorker",
    "RunSummary",
    "SnoozeTask",
    "StopWorker",
    "TaskContext",
    "TaskRegistry",
    "WorkerHandle",
    "WorkerPool",
    "WorkerStartError",
    "durable_map",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
