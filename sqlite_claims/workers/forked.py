"""Ends a process that a handler has forked, before the forked process runs code of the worker.

When a handler forks, the forked child also reaches the end of the handler: by ``return``, an exception or ``sys.exit``.
Then the child would settle the parent's claim and run the parent's next tasks. So the child has to exit at once.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import traceback

# With this argument of madvise, Linux clears the page in a forked child. The module mmap has no name for the argument.
_MADV_WIPEONFORK = 18
# A forked child may take this many seconds to write its error and flush its buffers. If another thread held a lock
# at the fork, the child may wait forever for the lock. So an alarm kills the child after this time.
_LEAVE_S_MAX = 5


class HomeProcess:
    """Detects whether the current process is a forked child of the process that created this object.

    The object reads a page of memory that the kernel clears in a forked child. So the check after every call of a
    handler needs no system call. The check also detects a fork that did not run Python's fork hooks.
    """

    __slots__ = ("_page", "_pid", "recursion_limit")

    def __init__(self) -> None:
        # The recursion limit applies to the whole process. If a handler lowers the limit, the worker restores it.
        self.recursion_limit = sys.getrecursionlimit()
        self._pid = os.getpid()
        self._page: mmap.mmap | None = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._page[0] = 1
        try:
            self._page.madvise(_MADV_WIPEONFORK)
        except OSError:
            self._page = None  # an old kernel does not support _MADV_WIPEONFORK

    def is_left(self) -> bool:
        """Return whether the current process is a forked child of the process that created this object."""
        return not self._page[0] if self._page is not None else os.getpid() != self._pid

    def leave_if_forked(self, error: BaseException | None = None) -> None:
        """End the current process if it is a forked child, with the exit status that ``error`` would have caused."""
        if self.is_left():
            leave(error)


def leave(error: BaseException | None = None) -> None:
    """End this forked process at once, without calling exit functions, because the parent process registered them."""
    status = 0 if error is None else 1
    try:
        message = ""
        if isinstance(error, SystemExit):
            status, message = exit_status(error)
        # At the fork, another thread may have held a lock, for example the lock of a buffer. The alarm ends the wait
        # for the lock.
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
    """Return the exit status and the message that the interpreter would use if this exception ended the program."""
    code = error.code
    if code is None:
        return 0, ""
    if isinstance(code, int):
        return code & 0xFF, ""
    return 1, str(code)
