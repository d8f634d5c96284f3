"""Stops background workers when the program ends, before Python shuts down the executors that their handlers use.

When the main thread has ended, Python first shuts down executors, then waits for other threads, and only then calls the
functions registered with ``atexit``. Until then, every task whose handler uses an executor would fail.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - it must register before this module: the last one registered is called first
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

# The end of the program waits this long for claims to be released.
_EXIT_S_MAX = 5.0


class BackgroundWorker(Protocol):
    """A worker that runs in the background, as ``WorkerHandle`` sees it."""

    def stop_at_end(self) -> None: ...
    def wait_at_end(self, timeout: float) -> None: ...


_running: set[BackgroundWorker] = set()
_ended = False
_this_thread = threading.local()


def register(worker: BackgroundWorker) -> None:
    """Have the worker stopped when the main thread has ended."""
    if not getattr(_this_thread, "is_exempt", False):
        _running.add(worker)


def unregister(worker: BackgroundWorker) -> None:
    """Forget the worker, since it has ended."""
    _running.discard(worker)


@contextmanager
def exempt_this_thread() -> Iterator[None]:
    """Don't stop the workers that this thread starts in the block, unless it is a daemon thread.

    The thread waits for them, and the program waits for the thread.
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
    """Return whether the program's end caused this error: executors take no work then, and no thread starts."""
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


# As concurrent.futures does it. Raises if the program is ending already.
with suppress(RuntimeError):
    threading._register_atexit(_end)  # type: ignore[attr-defined]
# The workers do not run in a forked child.
os.register_at_fork(after_in_child=_running.clear)
