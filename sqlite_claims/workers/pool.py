"""``WorkerPool``: worker processes under a supervisor."""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from .. import validate
from ..errors import InvalidArgumentError
from ..model import Duration
from ..sqlite.files.paths import store_path
from .context import RunSummary, WorkerStartError
from .handle import WorkerHandle, run_to_end
from .importing import main_file, paths_of, refuse_while_importing
from .options import worker_options
from .registry import Handlers
from .supervisor import Supervisor

__all__ = ["WorkerPool", "WorkerStartError"]

_STORE_OPTIONS = frozenset({"create", "durability", "busy_timeout", "use_c_core"})


class WorkerPool:
    """Runs tasks in N worker processes. The process that it is made in supervises and runs no handlers.

    ``handlers``: ``"module:attribute"`` (a mapping from kind to callable, a ``TaskRegistry``, or one callable for
    everything), or such an object whose functions can be imported by name. In a program's main file, start the pool
    under ``if __name__ == "__main__":``.

    A process that dies is replaced, and its tasks are back at once: the one that ran counts a loss, what waited behind
    it costs nothing. One whose task takes longer than ``task_timeout`` is killed, with the commands that the task has
    started (except daemons), and the attempt is a failure ("timed out"). When the supervisor is killed, the
    processes notice and stop.

    ``worker_id``: how the processes' names begin. ``processes``: as many as there are CPUs, if not given.
    ``concurrency``: tasks at a time in each (when one times out, the others in its process are given back).
    ``max_tasks_per_child``, ``max_memory_per_child`` (bytes): beyond that a process is replaced after what it runs.
    ``shutdown_timeout``: seconds that running tasks have to finish after a signal. ``store_options``: how the processes
    open the store (``durability``, ``busy_timeout``, ``create``, ``use_c_core``). The other arguments are those of
    ``PooledWorker``.

    Log records of the processes go to this process's loggers, at most 64 KiB each.
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
            # Another pool may bear that name, too, and a process's name has to be its own.
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
        self._options = options
        self._settings: dict[str, Any] = {
            "path": store_path(path),  # now: the current folder may be another when it runs
            "handlers": paths_of(handlers),
            # Timeouts are the supervisor's to enforce.
            "options": {**asdict(options), "task_timeout": None},
            "store_options": _store_options(store_options or {}),
            "max_tasks_per_child": _optional("max_tasks_per_child", max_tasks_per_child),
            "max_memory_per_child": _optional("max_memory_per_child", max_memory_per_child),
            "adapter": None,
        }

    def run(self, until_idle: bool = False) -> RunSummary:
        """Work until stopped: by SIGTERM or SIGINT (on the main thread), by a handler's ``StopWorker``, or with
        ``until_idle`` when no task that it could handle is ready, scheduled or claimed by anyone in an instance in
        progress.

        Then everything is settled or given back and the processes have ended. A second signal shortens the wait.
        Raises ``WorkerStartError``, with the error's text, where the processes die before they can work.
        """
        return run_to_end(lambda: self.spawn(until_idle))

    def spawn(self, until_idle: bool = False) -> WorkerHandle:
        """``run`` in the background."""
        refuse_while_importing()
        if not sys.executable:
            raise WorkerStartError(
                "sys.executable is empty: set it to the path of the Python interpreter for the workers"
            )
        if getattr(sys, "frozen", False):  # it would be this program that is started, again and again
            raise WorkerStartError("a frozen program has no Python interpreter for worker processes: use PooledWorker")
        settings = {
            **self._settings,
            "main": main_file() if _is_of_main(self._settings["handlers"]) else None,
            "log_levels": _log_levels(),
            "log_disabled": logging.root.manager.disable,
            "until_idle": until_idle,
        }
        supervisor = Supervisor(settings, self._options, self._processes)
        return WorkerHandle(supervisor, f"claims-pool-{self._options.worker_id}", self._options.shutdown_timeout)


def cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _optional(argument: str, value: int | None) -> int | None:
    return None if value is None else validate.integer(argument, value, 1)


def _store_options(given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(map(str, set(given) - _STORE_OPTIONS))
    if unknown:
        raise InvalidArgumentError(f"store_options has no {unknown[0]!r}; it takes {', '.join(sorted(_STORE_OPTIONS))}")
    found = dict(given)
    if "busy_timeout" in found:
        found["busy_timeout"] = validate.duration_us("store_options: busy_timeout", found["busy_timeout"]) / 1e6
    for name, value in found.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            raise InvalidArgumentError(f"store_options: {name} can't be {validate.shown(value)}") from None
    return found


def _is_of_main(handlers: str | dict[str, str]) -> bool:
    """Whether handlers are defined in the program's main file."""
    paths = [handlers] if isinstance(handlers, str) else handlers.values()
    return any(path.startswith("__main__:") for path in paths)


def _log_levels() -> dict[str, int]:
    """The levels set in this process, by logger, so that the processes make no records that nobody wants."""
    levels = {
        name: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and logger.level
    }
    return {**levels, "": logging.root.level}
