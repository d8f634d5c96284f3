"""Stops background workers when the program ends, before Python shuts down the executors that their handlers use.

When the main thread has ended, Python first shuts down executors, then waits for other threads, and then calls the
functions registered with ``atexit``. An ``atexit`` function would stop the workers too late, because
after the shutdown of the executors every task whose handler uses an executor would fail.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - imported first: Python calls the last registered function first
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

# The longest time that the program's end waits for workers to release their claims.
_EXIT_S_MAX = 5.0


class BackgroundWorker(Protocol):
    """The methods of ``WorkerHandle`` that stop a background worker at the program's end."""

    def stop_at_end(self) -> None: ...
    def wait_at_end(self, timeout: float) -> None: ...


_running: set[BackgroundWorker] = set()
_ended = False
_this_thread = threading.local()


def register(worker: BackgroundWorker) -> None:
    """Register a worker to be stopped when the main thread has ended."""
    if not getattr(_this_thread, "is_exempt", False):
        _running.add(worker)


def unregister(worker: BackgroundWorker) -> None:
    """Remove a worker that has ended."""
    _running.discard(worker)


@contextmanager
def exempt_this_thread() -> Iterator[None]:
    """Return a context manager. The program's end does not stop workers that the current thread starts within the
    block, unless the current thread is a daemon thread.

    These workers need not be stopped, because the thread waits for the workers, and the program waits for the thread.
    """
    _this_thread.is_exempt = not threading.current_thread().daemon
    try:
        yield
    finally:
        _this_thread.is_exempt = False


def has_begun() -> bool:
    """Return whether the program is ending."""
    return _ended or getattr(threading, "_SHUTTING_DOWN", False)


def refuses_work(error: BaseException) -> bool:
    """Return whether the program's end caused this error. At the program's end, executors raise an error for new work,
    and no thread can be started."""
    seen: set[int] = set()
    cause = error if has_begun() else None
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, RuntimeError) and "shutdown" in str(cause):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return False


def _end() -> None:
    global _ended
    _ended = True
    workers = list(_running)
    for worker in workers:
        worker.stop_at_end()
    until = time.monotonic() + _EXIT_S_MAX
    for worker in workers:
        worker.wait_at_end(max(0.0, until - time.monotonic()))


# The module concurrent.futures uses the same private function. It raises RuntimeError if the program is already ending.
with suppress(RuntimeError):
    threading._register_atexit(_end)  # type: ignore[attr-defined]
# A forked child has no workers to stop, because the parent's workers do not run in the child.
os.register_at_fork(after_in_child=_running.clear)
