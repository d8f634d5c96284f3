"""Workers that claim and run tasks.

``PooledWorker`` runs tasks in this process, and ``WorkerPool`` runs tasks in worker processes. ``CheckpointingRunner``
runs one instance from start to end. ``durable_map`` applies a function to many items.

A submodule is imported when one of its names is first used. So a program that only adds tasks imports no submodule of
this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpointing import CheckpointingRunner
    from .context import FailTask, RetryTask, RunSummary, SnoozeTask, StopWorker, TaskContext, current_task
    from .durable import durable_map
    from .handle import WorkerHandle
    from .pool import WorkerPool, WorkerStartError
    from .pooled import PooledWorker
    from .registry import TaskRegistry
    from .task_function import TaskFunction

_MODULES = {
    "CheckpointingRunner": "checkpointing",
    "FailTask": "context",
    "PooledWorker": "pooled",
    "RetryTask": "context",
    "RunSummary": "context",
    "SnoozeTask": "context",
    "StopWorker": "context",
    "TaskContext": "context",
    "TaskFunction": "task_function",
    "TaskRegistry": "registry",
    "WorkerHandle": "handle",
    "WorkerPool": "pool",
    "WorkerStartError": "pool",
    "current_task": "context",
    "durable_map": "durable",
}

__all__ = [
    "CheckpointingRunner",
    "FailTask",
    "PooledWorker",
    "RetryTask",
    "RunSummary",
    "SnoozeTask",
    "StopWorker",
    "TaskContext",
    "TaskFunction",
    "TaskRegistry",
    "WorkerHandle",
    "WorkerPool",
    "WorkerStartError",
    "current_task",
    "durable_map",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
