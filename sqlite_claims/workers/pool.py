"""``WorkerPool``: runs tasks in worker processes, which a supervisor starts and watches."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, cast

from .. import validate
from ..errors import InvalidArgumentError
from ..model import Duration
from ..opening import file_path
from . import typed_json
from .child_config import PoolConfig, StoreOptions
from .context import RunSummary, WorkerStartError
from .handle import WorkerHandle, run_to_end
from .importing import main_file, paths_of, refuse_while_importing
from .options import worker_options
from .registry import Handlers
from .supervisor import Supervisor

__all__ = ["WorkerPool", "WorkerStartError"]


class WorkerPool:
    """Runs tasks in N worker processes. The process that creates the pool supervises the worker processes, and runs no
    handlers.

    The supervisor replaces a worker process that dies. Each task that the process was running counts a loss. The
    other claimed tasks of the process are released, and their attempts do not count. If processes repeatedly die before
    they can run tasks, the pool's run ends with ``WorkerStartError``. If the supervisor is killed, the worker processes
    detect this and stop.

    In a program's main file, start the pool under ``if __name__ == "__main__":``, because the worker processes import
    the main file.

    Log records of the worker processes are passed to the loggers of the supervisor's process. A record has at most 64
    KiB. The worker processes use the log levels that were set when the pool was started. A later change of a level has
    no effect in the worker processes.

    Args:
        path: the store's file.
        handlers: a mapping from kind to handler, a ``TaskRegistry``, or one handler for all tasks. The handlers must be
            importable by name. The argument may also be the import path ``"module:attribute"`` of such an object.
        processes: the number of processes. Default: the number of CPUs.
        worker_id: the beginning of the worker ids of all processes. Default: a new name.
        concurrency: the number of tasks that run at a time in each process. Default: 1.
        claim_ttl: see ``PooledWorker``. Default: 600 s.
        heartbeat_interval: see ``PooledWorker``. Default: a third of ``claim_ttl``.
        tags: see ``PooledWorker``. Default: ``None``, any tags.
        batch_size: see ``PooledWorker``. Default: 128.
        poll_interval: see ``PooledWorker``. Default: 1 s.
        task_timeout: the time that an attempt may take, if the task has no ``timeout``. After this time, the attempt
            has failed ("timed out"). The attempt's process and the commands that the task has started (except daemons)
            are killed. The other tasks of the process are released. Default: ``None``, no limit.
        shutdown_timeout: the time within which running tasks have to finish after a signal. Default: 5 s.
        max_tasks_per_child: replace a process after this many tasks. Default: ``None``, never.
        max_memory_per_child: replace a process that uses more than this many bytes of memory after a task. Default:
            ``None``, never.
        store_options: arguments of ``SqliteClaimStore`` for opening the store: any of ``create``, ``durability``,
            ``busy_timeout`` and ``use_c_core``. Default: no arguments.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        handlers: str | Handlers,
        *,
        processes: int | None = None,
        worker_id: str | None = None,
        concurrency: int = 1,
        claim_ttl: Duration | None = 600.0,
        heartbeat_interval: Duration | None = None,
        tags: Collection[str] | None = None,
        batch_size: int | None = None,
        poll_interval: Duration = 1.0,
        task_timeout: Duration | None = None,
        shutdown_timeout: Duration = 5.0,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        store_options: Mapping[str, Any] | None = None,
    ) -> None:
        if worker_id is not None:
            # Several pools may get the same ``worker_id`` argument, but two processes must not have the same worker id.
            worker_id = f"{validate.name('worker_id', worker_id)}-{secrets.token_hex(4)}"
        options = worker_options(
            worker_id=worker_id,
            concurrency=concurrency,
            claim_ttl=claim_ttl,
            heartbeat_interval=heartbeat_interval,
            tags=tags,
            batch_size=batch_size,
            poll_interval=poll_interval,
            task_timeout=task_timeout,
            shutdown_timeout=shutdown_timeout,
        )
        validate.name("worker_id with a process's number", f"{options.worker_id}-4294967295")
        self._processes = cpus() if processes is None else validate.integer("processes", processes, 1, 4096)
        self._config = PoolConfig(
            path=file_path(path),  # absolute, because the program may change the current folder later
            handlers=paths_of(handlers),
            options=options,
            store_options=_checked_store_options(store_options or {}),
            max_tasks=_at_least_one("max_tasks_per_child", max_tasks_per_child),
            max_memory_bytes=_at_least_one("max_memory_per_child", max_memory_per_child),
            log_levels={},
        )

    def run(self, until_idle: bool = False) -> RunSummary:
        """Run tasks until the pool is stopped by SIGTERM or SIGINT (on the main thread) or by a handler's
        ``StopWorker``.

        When the call returns, the pool holds no claims, and its processes have ended. After a second signal, the pool
        does not wait for running tasks any longer.

        Args:
            until_idle: also stop when no task is left that this pool could ever run. Such a task
                belongs to an instance in progress, fits the pool's handlers and tags, and is ready, scheduled, or
                claimed by any worker.

        Returns:
            The summary of the run.

        Raises:
            WorkerStartError: the worker processes crash on start-up. The message contains the last error of a process.
        """
        return run_to_end(lambda: self.spawn(until_idle))

    def spawn(self, until_idle: bool = False) -> WorkerHandle:
        """Start ``run`` in the background.

        Args:
            until_idle: see ``run``.

        Returns:
            A handle that stops the pool and waits for its end.
        """
        refuse_while_importing()
        if not sys.executable:
            raise WorkerStartError(
                "sys.executable is empty: set it to the path of the Python interpreter for the workers"
            )
        if getattr(sys, "frozen", False):  # sys.executable is this program, so each process would start a pool
            raise WorkerStartError("a frozen program has no Python interpreter for worker processes: use PooledWorker")
        config = replace(
            self._config,
            main_file=main_file() if _is_in_main_file(self._config.handlers) else None,
            until_idle=until_idle,
            log_levels=_log_levels(),
            log_disabled_level=logging.root.manager.disable,
        )
        options = config.options
        supervisor = Supervisor(config, self._processes)
        return WorkerHandle(supervisor, f"claims-pool-{options.worker_id}", options.shutdown_timeout)

    def _use_adapter(self, path: str) -> None:
        """Set the import path of the function that turns the imported objects into handlers in each worker process."""
        self._config = replace(self._config, adapter=path)


def cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _at_least_one(argument: str, value: int | None) -> int | None:
    return None if value is None else validate.integer(argument, value, 1)


def _checked_store_options(given: Mapping[str, Any]) -> StoreOptions:
    unknown = sorted(map(str, set(given) - StoreOptions.__optional_keys__))
    if unknown:
        names = ", ".join(sorted(StoreOptions.__optional_keys__))
        raise InvalidArgumentError(f"store_options has no {unknown[0]!r}: give only {names}")
    options = dict(given)
    if "busy_timeout" in options:
        options["busy_timeout"] = validate.duration_us("store_options: busy_timeout", options["busy_timeout"]) / 1e6
    for name, value in options.items():
        if isinstance(value, int) and name in ("create", "use_c_core"):
            value = bool(value)  # noqa: PLW2901 - 0 and 1 are accepted, as by SqliteClaimStore
        try:
            options[name] = typed_json.build(StoreOptions, {name: value})[name]  # type: ignore[literal-required]
        except ValueError:
            raise InvalidArgumentError(f"store_options: {name} cannot be {validate.shown(value)}") from None
    return cast(StoreOptions, options)


def _is_in_main_file(handlers: str | dict[str, str]) -> bool:
    """Return whether the program's main file defines at least one of the handlers."""
    paths = [handlers] if isinstance(handlers, str) else handlers.values()
    return any(path.startswith("__main__:") for path in paths)


def _log_levels() -> dict[str, int]:
    """Return the log level of each logger in this process, by name. The worker processes set the same levels, so that
    they create no log records that this process would drop."""
    levels = {
        name: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and logger.level
    }
    return {**levels, "": logging.root.level}
