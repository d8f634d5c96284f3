"""Ends a process that a handler has forked, before it goes on in the worker's code.

A handler may fork. Its child returns out of the handler, too, by a return, an exception or ``sys.exit``. There it would
settle its parent's claim and run its parent's next tasks, so it has to leave at once.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import traceback

# Linux: the page is zero in a child of a fork. (The mmap module has no name for it.)
_MADV_WIPEONFORK = 18
# How long a child may take to write out its error and its buffers, which another thread's lock may keep it from.
_LEAVE_S_MAX = 5


class HomeProcess:
    """The process that this object was made in; asked after every call of user code.

    It is a page of memory that the kernel clears in a forked child: reading it costs no system call, and a fork that
    went round Python's hooks is noticed, too.
    """

    __slots__ = ("_page", "_pid", "recursion_limit")

    def __init__(self) -> None:
        # Also of the whole process, and the worker's own calls may need it after a handler has lowered it.
        self.recursion_limit = sys.getrecursionlimit()
        self._pid = os.getpid()
        self._page: mmap.mmap | None = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._page[0] = 1
        try:
            self._page.madvise(_MADV_WIPEONFORK)
        except OSError:
            self._page = None  # an old kernel

    def is_left(self) -> bool:
        """Whether this code runs in a forked child of it."""
        return not self._page[0] if self._page is not None else os.getpid() != self._pid

    def leave_if_forked(self, error: BaseException | None = None) -> None:
        """In a forked child: end the process, with the status that ``error`` would have given it."""
        if self.is_left():
            leave(error)


def leave(error: BaseException | None = None) -> None:
    """End this process at once, without running what is registered for its end: that belongs to its parent."""
    status = 0 if error is None else 1
    try:
        message = ""
        if isinstance(error, SystemExit):
            status, message = exit_status(error)
        # From now on a lock that a thread of the parent's held at the fork, of a buffer say, doesn't keep us for ever.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.alarm(_LEAVE_S_MAX)
        if message:
            sys.stderr.write(f"{message}\n")
        elif error is not None and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status)


def exit_status(error: SystemExit) -> tuple[int, str]:
    """The status with which the interpreter would end at this exception, and the message that it would print."""
    code = error.code
    if code is None:
        return 0, ""
    if isinstance(code, int):
        return code & 0xFF, ""
    return 1, str(code)
