"""Reads the log records of a pool's processes, and passes them to the loggers of the supervising program."""

from __future__ import annotations

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

# Lines of one process before it is another's turn, and after its death, when only what stands in its socket is left.
_LINES_A_TURN = 64
_LINES_LEFT_MAX = 10_000
# Seconds between two warnings of unreadable lines.
_QUIET_S = 10.0
# How long a pool waits at its end for a slow logging handler of the program.
_END_S_MAX = 5.0


class LogSource:
    """The supervisor's end of the socket on which one process sends its records."""

    def __init__(self, end: socket.socket, worker_id: str) -> None:
        self.socket = end
        self.worker_id = worker_id

    def lines(self, limit: int) -> Iterator[bytes]:
        """The lines that have arrived, up to a limit."""
        with suppress(OSError):  # nothing more, for now or for good
            for _ in range(limit):
                yield self.socket.recv(LINE_BYTES_MAX + 1)


class LogRelay:
    """A thread that logs. The supervisor logs through it, too: a handler of the program that is slow, or never comes
    back, keeps this thread and the processes that log much, and nobody from being supervised."""

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
        self._tell_at = -float("inf")
        self._thread = threading.Thread(target=self._work, name="claims-pool-log", daemon=True)
        self._thread.start()

    def post(self, function: Callable[P, object], *args: P.args, **options: P.kwargs) -> None:
        """Have the thread call a function. May be called from any thread, and doesn't wait."""
        self._posts.append(partial(function, *args, **options))
        with suppress(OSError):  # full, so that it wakes anyway
            self._waker.send(b"w")

    def add(self, source: LogSource) -> None:
        """Read this process's socket from now on."""
        self.post(self._selector.register, source.socket, selectors.EVENT_READ, source)

    def remove(self, source: LogSource) -> None:
        """Read the rest of a dead process's lines, and close its socket."""
        self.post(self._finish, source)

    def drop(self, lines: int, worker_id: str) -> None:
        """Count unreadable lines of a process."""
        self.post(self._note_unreadable, lines, worker_id)

    def close(self) -> None:
        """Log everything that was posted, and end."""
        self.post(self._end)
        self._thread.join(_END_S_MAX)

    # -- on the thread

    def _work(self) -> None:
        while not self._over:
            try:
                self._turn()
            except BaseException:  # noqa: BLE001 - without this thread, processes that log would wait for ever
                show_failure()
                time.sleep(0.1)  # it may go on
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
                self._read(event.data, _LINES_A_TURN)

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
        self._read(source, _LINES_LEFT_MAX)
        source.socket.close()

    def _note_unreadable(self, lines: int, worker_id: str) -> None:
        self._unreadable += lines
        if self._clock() >= self._tell_at:
            self._tell_unreadable(f"the last of worker {worker_id}")

    def _tell_unreadable(self, whose: str) -> None:
        log.warning(
            "%d lines that worker processes sent could not be read and were dropped, %s", self._unreadable, whose
        )
        self._unreadable = 0
        self._tell_at = self._clock() + _QUIET_S

    def _end(self) -> None:
        if self._unreadable:
            self._tell_unreadable("since the last such warning")
        self._over = True
