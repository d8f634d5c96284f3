"""The end of the program: workers in its background stop before their handlers lack what the interpreter takes away.

When the main thread has ended, Python first lets executors take no more work, then waits for the other threads, and
only then runs what is registered with ``atexit``. A handler that uses an executor would fail meanwhile, task by task.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - so that it has registered before us: the last one is called first
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

# How long the end of the program waits for claims to be given back.
_EXIT_S_MAX = 5.0


class Ending(Protocol):
    """A run in the background."""

    def stop_at_end(self) -> None: ...
    def wait_at_end(self, timeout: float) -> None: ...


_running: set[Ending] = set()
_ended = False
_this_thread = threading.local()


def register(run: Ending) -> None:
    """Have the run stopped when the main thread has ended."""
    if not getattr(_this_thread, "puts_off", False):
        _running.add(run)


def unregister(run: Ending) -> None:
    """Remove the run: it has ended, or is to go on."""
    _running.discard(run)


@contextmanager
def put_off_by_this_thread() -> Iterator[None]:
    """Runs that this thread starts within aren't stopped, since it waits for them, and the program for the thread; a
    program does not wait for its daemon threads."""
    _this_thread.puts_off = not threading.current_thread().daemon
    try:
        yield
    finally:
        _this_thread.puts_off = False


def has_begun() -> bool:
    """Whether the program is ending."""
    return _ended or getattr(threading, "_SHUTTING_DOWN", False)


def refuses_work(error: BaseException) -> bool:
    """Whether this error came because the program is ending: executors take no more work then, and no thread starts."""
    seen: set[int] = set()
    found = error if has_begun() else None
    while found is not None and id(found) not in seen:
        if isinstance(found, RuntimeError) and "shutdown" in str(found):
            return True
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    return False


def _end() -> None:
    global _ended
    _ended = True
    runs = list(_running)
    for run in runs:
        run.stop_at_end()
    until = time.monotonic() + _EXIT_S_MAX
    for run in runs:
        run.wait_at_end(max(0.0, until - time.monotonic()))


# As concurrent.futures does it. Refused if the program is ending already.
with suppress(RuntimeError):
    threading._register_atexit(_end)  # type: ignore[attr-defined]
# In a forked child nothing of it runs.
os.register_at_fork(after_in_child=_running.clear)
