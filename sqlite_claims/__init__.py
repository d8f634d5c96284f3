"""A task queue in one SQLite file: workers claim tasks with leases and fencing tokens.

The modules of the workers, of the asynchronous store and of the in-memory store are imported when a program first uses
one of their names.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    AlreadyExistsError,
    BackendError,
    ClaimLostError,
    InvalidArgumentError,
    InvalidStateError,
    NotFoundError,
    SchemaVersionError,
    StoreBusyError,
    StoreClosedError,
    StoreCorruptError,
    StoreFullError,
    StoreUnavailableError,
    TaskFailedError,
)
from .interface import Handover, TaskClaimStore, WorkerSession, WorkerStore
from .model import (
    AttemptInfo,
    AvailableTask,
    ClaimedTask,
    InstanceInfo,
    InstanceState,
    LimitInfo,
    NewTask,
    Progress,
    RetryPolicy,
    StoreStats,
    TaskClaim,
    TaskInfo,
    TaskRef,
    TaskState,
    WorkerInfo,
)
from .schedules import Cron, Every, ScheduleInfo
from .sqlite.maintenance.restoring import restore
from .sqlite.store import SqliteClaimStore
from .task_batch import TaskBatch

if TYPE_CHECKING:
    __version__: str
    from .aio import AsyncSqliteClaimStore, AsyncTaskClaimStore
    from .memory import InMemoryClaimStore
    from .workers import (
        CheckpointingRunner,
        FailTask,
        PooledWorker,
        RetryTask,
        RunSummary,
        SnoozeTask,
        StopWorker,
        TaskContext,
        TaskRegistry,
        WorkerHandle,
        WorkerPool,
        current_task,
        durable_map,
    )

_HOMES = {
    "AsyncSqliteClaimStore": "aio",
    "AsyncTaskClaimStore": "aio",
    "CheckpointingRunner": "workers",
    "FailTask": "workers",
    "InMemoryClaimStore": "memory",
    "PooledWorker": "workers",
    "RetryTask": "workers",
    "RunSummary": "workers",
    "SnoozeTask": "workers",
    "StopWorker": "workers",
    "TaskContext": "workers",
    "TaskRegistry": "workers",
    "WorkerHandle": "workers",
    "WorkerPool": "workers",
    "current_task": "workers",
    "durable_map": "workers",
}

__all__ = [
    "AlreadyExistsError",
    "AsyncSqliteClaimStore",
    "AsyncTaskClaimStore",
    "AttemptInfo",
    "AvailableTask",
    "BackendError",
    "CheckpointingRunner",
    "ClaimLostError",
    "ClaimedTask",
    "Cron",
    "Every",
    "FailTask",
    "Handover",
    "InMemoryClaimStore",
    "InstanceInfo",
    "InstanceState",
    "InvalidArgumentError",
    "InvalidStateError",
    "LimitInfo",
    "NewTask",
    "NotFoundError",
    "PooledWorker",
    "Progress",
    "RetryPolicy",
    "RetryTask",
    "RunSummary",
    "ScheduleInfo",
    "SchemaVersionError",
    "SnoozeTask",
    "SqliteClaimStore",
    "StopWorker",
    "StoreBusyError",
    "StoreClosedError",
    "StoreCorruptError",
    "StoreFullError",
    "StoreStats",
    "StoreUnavailableError",
    "TaskBatch",
    "TaskClaim",
    "TaskClaimStore",
    "TaskContext",
    "TaskFailedError",
    "TaskInfo",
    "TaskRef",
    "TaskRegistry",
    "TaskState",
    "WorkerHandle",
    "WorkerInfo",
    "WorkerPool",
    "WorkerSession",
    "WorkerStore",
    "current_task",
    "durable_map",
    "restore",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def _version() -> str:
    """Return the version of the installed distribution, or ``0+unknown`` for a checkout that was never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sqlite-claims")
    except PackageNotFoundError:
        return "0+unknown"
