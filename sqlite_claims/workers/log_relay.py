"""Reads the log records of a pool's processes and passes them to the loggers of the program that runs the pool."""

from __future__ import annotations

import math
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import ParamSpec

from .log_lines import LINE_BYTES_MAX, decode
from .task_log import SafeLogger, log, show_failure

P = ParamSpec("P")

# The largest number of lines that are read from one process before the next process is read.
_LINES_PER_TURN = 64
# The largest number of lines that are read after the death of a process. There must be a limit, because a child process
# that the dead process has forked may continue to write.
_LINES_AFTER_DEATH_MAX = 10_000
# The shortest time between two warnings about unreadable log lines.
_WARNING_INTERVAL_S = 10.0
# At its end, a pool waits at most this long for a slow log handler of the program.
_END_S_MAX = 5.0


class LogSource:
    """The supervisor's end of the socket on which a process sends its log records."""

    def __init__(self, end: socket.socket, worker_id: str) -> None:
        self.socket = end
        self.worker_id = worker_id

    def lines(self, limit: int) -> Iterator[bytes]:
        """Yield at most ``limit`` of the lines that have arrived."""
        with suppress(OSError):  # there are no more lines now, or the socket is closed
            for _ in range(limit):
                yield self.socket.recv(LINE_BYTES_MAX + 1)


class LogRelay:
    """A thread that logs the records of the worker processes and of the supervisor.

    If a log handler of the program is slow or never returns, it delays only this thread and the processes that write
    many log records. It does not delay the supervisor.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._posts: deque[Callable[[], object]] = deque()
        self._selector = selectors.DefaultSelector()
        self._waker, self._alarm = socket.socketpair()
        for end in (self._waker, self._alarm):
            end.setblocking(False)
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self._over = False
        self._unreadable = 0
        self._warn_at = -math.inf
        self._thread = threading.Thread(target=self._work, name="claims-pool-log", daemon=True)
        self._thread.start()

    def post(self, function: Callable[P, object], *args: P.args, **options: P.kwargs) -> None:
        """Let the relay's thread call a function. ``post`` may be called from any thread, and returns at once."""
        self._posts.append(partial(function, *args, **options))
        with suppress(OSError):  # if the socket is full, the thread wakes anyway
            self._waker.send(b"w")

    def add(self, source: LogSource) -> None:
        """Start to read the log socket of a process."""
        self.post(self._selector.register, source.socket, selectors.EVENT_READ, source)

    def remove(self, source: LogSource) -> None:
        """Read the remaining lines of a dead process, and close the socket."""
        self.post(self._finish, source)

    def count_unreadable(self, lines: int, worker_id: str) -> None:
        """Add to the number of unreadable lines of a process. At most every 10 seconds, log a warning."""
        self.post(self._note_unreadable, lines, worker_id)

    def close(self) -> None:
        """Wait until the relay's thread has called all posted functions, and end the thread."""
        self.post(self._end)
        self._thread.join(_END_S_MAX)

    # -- called on the thread

    def _work(self) -> None:
        while not self._over:
            try:
                self._turn()
            except BaseException:  # noqa: BLE001 - if this thread ended, processes that log would block
                show_failure()
                time.sleep(0.1)  # a persistent error must not make the loop busy
        for end in (self._selector, self._waker, self._alarm):
            end.close()

    def _turn(self) -> None:
        while self._posts and not self._over:
            self._posts.popleft()()
        if self._over:
            return
        for event, _ in self._selector.select():
            if event.data is None:
                with suppress(OSError):
                    self._alarm.recv(4096)
            else:
                self._read(event.data, _LINES_PER_TURN)

    def _read(self, source: LogSource, limit: int) -> None:
        for line in source.lines(limit):
            try:
                record = decode(line, source.worker_id)
            except ValueError:
                self._note_unreadable(1, source.worker_id)
                continue
            logger = SafeLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)

    def _finish(self, source: LogSource) -> None:
        self._selector.unregister(source.socket)
        self._read(source, _LINES_AFTER_DEATH_MAX)
        source.socket.close()

    def _note_unreadable(self, lines: int, worker_id: str) -> None:
        self._unreadable += lines
        if self._clock() >= self._warn_at:
            self._warn_unreadable(f"the last one from worker {worker_id}")

    def _warn_unreadable(self, which: str) -> None:
        log.warning("dropped %d unreadable lines from worker processes, %s", self._unreadable, which)
        self._unreadable = 0
        self._warn_at = self._clock() + _WARNING_INTERVAL_S

    def _end(self) -> None:
        if self._unreadable:
            self._warn_unreadable("since the last warning of this kind")
        self._over = True
